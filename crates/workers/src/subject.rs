//! A subject's row: read, changed under its version, published whole.

use ridgeline_domain::{RequestId, SubjectId, Timestamp};
use ridgeline_fingerprint::formats::FOREIGN_ENGINE;
use ridgeline_fingerprint::{ENGINE, Template};
use ridgeline_flow::{Enrolled, EnrolledTemplate, ImageDigests, Probe};
use ridgeline_ports::{Cas, RowKey, TraceContext, Version};
use ridgeline_runtime::StepError;
use ridgeline_vault::{Aad, Purpose};
use ridgeline_wire::message::Gallery;
use ridgeline_wire::row::{EnrolledPosition, Metadata, ScanDetails, StoredTemplate, SubjectRow, TemplateSet, table};
use ridgeline_wire::{Topic, decode, encode};

use crate::platform::{Outgoing, Platform, engine, vault_fault, wire_fault};
use crate::publication::{Publication, keep_current};

/// A redelivered request finds its own mark among so many; records of one subject run in order, so one would do.
const MARKS_MAX: usize = 32;

/// Images of replaced templates that are still known as replays, of one subject; the oldest go first.
const RETIRED_MAX: usize = 64;

/// A subject as stored.
pub(crate) struct Subject {
    pub(crate) row: SubjectRow,
    pub(crate) version: Version,
    pub(crate) set: TemplateSet,
}

/// What is about to be written.
pub(crate) enum Change {
    /// These templates replace those of their finger.
    Enrol { position: ridgeline_domain::Position, templates: Vec<Probe> },
    /// All templates go.
    Forget,
}

fn aad(subject: &SubjectId, column: &str) -> Aad {
    Aad::new(table::SUBJECTS.name, subject.as_str(), column)
}

impl Subject {
    /// Reads a subject, forgotten ones included. A change whose acknowledgement was lost may be missed; changing the row meets it.
    pub(crate) async fn load(platform: &Platform, subject: &SubjectId) -> Result<Option<Self>, StepError> {
        let Some(stored) = platform.store.peek(table::SUBJECTS, &RowKey::single(subject.as_str())).await? else {
            return Ok(None);
        };
        let row: SubjectRow = decode(&stored.value).map_err(wire_fault)?;
        let set = platform
            .vault
            .open(Purpose::Template, &aad(subject, "templates"), &row.templates)
            .map_err(|e| vault_fault(&e))?;
        let set = decode(set.expose()).map_err(wire_fault)?;
        Ok(Some(Self { row, version: stored.version, set }))
    }

    /// What deciding code sees of it.
    pub(crate) fn enrolled(&self) -> Enrolled {
        let templates = self.set.templates.iter().map(|stored| EnrolledTemplate {
            position: stored.position,
            image: ImageDigests::from_bytes(&stored.image_digest),
            template: usable(&stored.template),
        });
        Enrolled { templates: templates.collect(), marks: self.row.marks.clone() }
    }

    /// Whether this request already changed the row.
    pub(crate) fn has_mark(&self, request: RequestId) -> bool {
        self.row.marks.contains(&request)
    }
}

/// A template of this engine in this version, or of foreign minutiae as this version takes them over; others are not comparable.
pub(crate) fn usable(bytes: &[u8]) -> Option<Template> {
    Template::from_bytes(bytes).ok().filter(|template| [&ENGINE, &FOREIGN_ENGINE].contains(&template.engine()))
}

pub(crate) fn stored(position: ridgeline_domain::Position, probe: &Probe, enrolled_at: Timestamp) -> StoredTemplate {
    StoredTemplate {
        position,
        quality: i32::from(probe.quality()),
        engine: probe.template.engine().to_string(),
        enrolled_at,
        image_digest: probe.image.to_bytes(),
        template: probe.template.to_bytes(),
    }
}

/// Writes the change under the version that was read. `None`: another request was faster, gather again.
pub(crate) async fn write(
    platform: &Platform,
    request: RequestId,
    subject: &SubjectId,
    current: Option<&Subject>,
    change: (Change, &ScanDetails),
    now: Timestamp,
) -> Result<Option<Version>, StepError> {
    if let Some(current) = current.filter(|current| current.has_mark(request)) {
        return Ok(Some(current.version));
    }
    let row = changed(platform, request, subject, current, change, now)?;
    let key = RowKey::single(subject.as_str());
    let value = encode(&row).map_err(wire_fault)?.into();
    let outcome = match current {
        None => platform.store.insert_new(table::SUBJECTS, &key, value, None).await?,
        Some(current) => platform.store.replace(table::SUBJECTS, &key, current.version, value, None).await?,
    };
    match outcome {
        Cas::Applied(version) => Ok(Some(version)),
        Cas::Conflict(_) => Ok(None),
    }
}

fn changed(
    platform: &Platform,
    request: RequestId,
    subject: &SubjectId,
    current: Option<&Subject>,
    (change, details): (Change, &ScanDetails),
    now: Timestamp,
) -> Result<SubjectRow, StepError> {
    let seal = |column, plaintext: &[u8]| {
        platform
            .vault
            .seal(Purpose::Template, &aad(subject, column), plaintext, &*platform.entropy)
            .map_err(|e| vault_fault(&e))
    };
    let kept = current.map(|current| current.set.templates.clone()).unwrap_or_default();
    let mut metadata = current.and_then(|current| current.row.metadata.clone());
    let (set, deleted) = match change {
        Change::Forget => {
            metadata = None;
            (TemplateSet::default(), true)
        }
        Change::Enrol { position, templates } => {
            let mut others: Vec<_> = kept.into_iter().map(|template| retired_if(template, position)).collect();
            let retired = others.iter().filter(|template| template.template.is_empty()).count();
            let mut surplus = retired.saturating_sub(RETIRED_MAX);
            others.retain(|template| {
                let drop = surplus > 0 && template.template.is_empty();
                surplus -= usize::from(drop);
                !drop
            });
            let templates =
                others.into_iter().chain(templates.iter().map(|probe| stored(position, probe, now))).collect();
            if !details.metadata.is_empty() {
                let entries = Metadata { entries: details.metadata.clone() };
                metadata = Some(seal("metadata", &encode(&entries).map_err(wire_fault)?)?);
            }
            (TemplateSet { templates }, false)
        }
    };
    let mut marks = current.map(|current| current.row.marks.clone()).unwrap_or_default();
    marks.push(request);
    marks.drain(..marks.len().saturating_sub(MARKS_MAX));
    Ok(SubjectRow {
        subject_id: subject.clone(),
        version: current.map_or(0, |current| current.row.version) + 1,
        deleted,
        engine: engine(),
        positions: positions(&set),
        templates: seal("templates", &encode(&set).map_err(wire_fault)?)?,
        metadata,
        marks,
        created_at: current.map_or(now, |current| current.row.created_at),
        updated_at: now,
    })
}

/// A template of the finger that is enrolled again: its digests stay, since its image is still no live finger (V-4).
fn retired_if(template: StoredTemplate, position: ridgeline_domain::Position) -> StoredTemplate {
    if template.position == position { StoredTemplate { template: Vec::new(), ..template } } else { template }
}

fn positions(set: &TemplateSet) -> Vec<EnrolledPosition> {
    let mut positions: Vec<EnrolledPosition> = Vec::new();
    for template in set.templates.iter().filter(|template| !template.template.is_empty()) {
        match positions.iter_mut().find(|known| known.position == template.position) {
            Some(known) => {
                known.quality = known.quality.max(template.quality);
                known.templates += 1;
            }
            None => positions.push(EnrolledPosition {
                position: template.position,
                quality: template.quality,
                templates: 1,
                enrolled_at: template.enrolled_at,
            }),
        }
    }
    positions
}

/// Publishes the subject's whole set from its row; a forgotten subject becomes a tombstone. A replay publishes the row of today.
/// Answers the version that was published last.
pub(crate) async fn publish(
    platform: &Platform,
    subject: &SubjectId,
    trace: Option<&TraceContext>,
) -> Result<Option<i64>, StepError> {
    keep_current(&OnGallery { platform, subject, trace }).await
}

/// Version and state of a subject's row, without its content.
pub(crate) async fn standing(platform: &Platform, subject: &SubjectId) -> Result<Option<Standing>, StepError> {
    let stored = platform.store.get(table::SUBJECTS, &RowKey::single(subject.as_str())).await?;
    stored.map(|stored| decode(&stored.value).map(|row| Standing::of(&row)).map_err(wire_fault)).transpose()
}

/// What a row says about its subject's place in the gallery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) version: i64,
    pub(crate) deleted: bool,
}

impl Standing {
    pub(crate) const fn of(row: &SubjectRow) -> Self {
        Self { version: row.version, deleted: row.deleted }
    }
}

struct OnGallery<'a> {
    platform: &'a Platform,
    subject: &'a SubjectId,
    trace: Option<&'a TraceContext>,
}

impl Publication for OnGallery<'_> {
    type Row = Subject;

    async fn read(&self) -> Result<Option<Subject>, StepError> {
        Subject::load(self.platform, self.subject).await
    }

    fn version(current: &Subject) -> i64 {
        current.row.version
    }

    async fn append(&self, current: &Subject) -> Result<(), StepError> {
        let Self { platform, subject, trace } = self;
        let version = current.row.version;
        let value = if current.row.deleted {
            None
        } else {
            let set = encode(&current.set).map_err(wire_fault)?;
            let templates = platform
                .vault
                .seal(Purpose::Topic, &gallery_aad(subject), &set, &*platform.entropy)
                .map_err(|e| vault_fault(&e))?;
            let gallery = Gallery {
                subject_id: (*subject).clone(),
                version,
                engine: current.row.engine.clone(),
                updated_at: current.row.updated_at,
                attributes: None,
                templates,
            };
            Some(encode(&gallery).map_err(wire_fault)?)
        };
        let id = format!("{subject}:gallery:{version}");
        let mut to = Outgoing::new(Topic::Gallery, subject.as_str(), id).at_version(version);
        if let Some(trace) = trace {
            to = to.traced(trace);
        }
        platform.publish_bytes(to, value).await?;
        Ok(())
    }
}

/// Where a subject's templates lie on the `gallery` topic.
pub(crate) fn gallery_aad(subject: &SubjectId) -> Aad {
    Aad::new("gallery", subject.as_str(), "templates")
}
