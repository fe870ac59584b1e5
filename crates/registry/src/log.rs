//! An event log whose values bear the registry's ids, for those who know only ours.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use ridgeline_ports::{
    Appended, Delivery, EventLog, GroupId, GroupSubscription, LogError, MemberId, NewRecord, Offset, Record, StartAt,
    TailStart, TailSubscription, TopicName, TopicSpec,
};
use ridgeline_runtime::{Health, HealthHandle, HealthState};
use ridgeline_wire::SchemaId;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::ids::{Read, with_id};
use crate::{Registry, RegistryError, RegistryId, SchemaIds, metric};

/// Records that wait behind this adapter, beside those that the log itself holds ready. A scan has up to 12 MiB.
const DELIVERIES: usize = 4;
/// First pause before an id is asked for again; doubles.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Ids that are remembered for each process. Ours are few; a writer of nonsense may name any number.
const REMEMBERED_MAX: usize = 1_024;
/// How long a foreign id is believed to be foreign: a registry that follows another may learn of it late.
const FOREIGN_FOR: Duration = Duration::from_secs(60);

/// Exchanges schema ids at the border to the log.
///
/// An id that is neither ours nor known is looked up once. It turns out to be our schema under another id, or the record is handed
/// on as it is, and decoding it says `UnknownSchema`. While the registry cannot be asked, the subscription that met such an id
/// waits, and health says why: the record may be good. Known ids need no registry.
pub struct TranslatedLog {
    inner: Arc<dyn EventLog>,
    reader: Arc<Reader>,
}

impl std::fmt::Debug for TranslatedLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TranslatedLog").field("registry", &self.reader.registry).finish_non_exhaustive()
    }
}

/// What all subscriptions share.
struct Reader {
    ids: SchemaIds,
    registry: Registry,
    health: HealthHandle,
    known: Mutex<HashMap<(TopicName, RegistryId), Known>>,
}

/// What an id that was looked up turned out to be.
#[derive(Debug, Clone, Copy)]
enum Known {
    Ours(SchemaId),
    ForeignSince(Instant),
}

impl TranslatedLog {
    /// Loads the ids of every topic under `prefix`, and stands before `inner` from then on. Reports as `schema-registry`.
    ///
    /// # Errors
    /// As [`SchemaIds::load`].
    pub async fn open(
        inner: Arc<dyn EventLog>,
        registry: Registry,
        prefix: &str,
        health: &Health,
    ) -> Result<Self, RegistryError> {
        let ids = SchemaIds::load(&registry, prefix).await?;
        let health = health.component("schema-registry");
        let reader = Reader { ids, registry, health, known: Mutex::default() };
        Ok(Self { inner, reader: Arc::new(reader) })
    }

    /// Deliveries in their order, translated. Ends with either side.
    fn translated(&self, mut from: mpsc::Receiver<Delivery>) -> mpsc::Receiver<Delivery> {
        let (to, translated) = mpsc::channel(DELIVERIES);
        let reader = self.reader.clone();
        tokio::spawn(async move {
            let pump = async {
                while let Some(delivery) = from.recv().await {
                    let delivery = match delivery {
                        Delivery::Record { record, epoch } => {
                            Delivery::Record { record: reader.incoming(record).await, epoch }
                        }
                        end @ Delivery::End { .. } => end,
                    };
                    if to.send(delivery).await.is_err() {
                        return;
                    }
                }
            };
            // A subscription that was dropped must leave its group, also while nothing is read or the registry is away.
            tokio::select! {
                biased;
                () = to.closed() => {}
                () = pump => {}
            }
        });
        translated
    }
}

impl Reader {
    async fn incoming(&self, mut record: Record) -> Record {
        let Some(value) = record.value.take() else { return record };
        let ours = match self.ids.incoming(&record.topic, &value) {
            Read::Keep => None,
            Read::Translate(id) => Some(id),
            Read::Unknown(id) => self.look_up(&record.topic, id).await,
        };
        record.value = Some(match ours {
            Some(SchemaId(id)) => with_id(value, id),
            None => value,
        });
        record
    }

    async fn look_up(&self, topic: &TopicName, id: RegistryId) -> Option<SchemaId> {
        if let Some(known) = self.remembered(topic, id) {
            return known;
        }
        let (mut pause, mut waiting) = (PAUSE_FIRST, None);
        let schema = loop {
            match self.registry.schema(id).await {
                Ok(schema) => break schema,
                Err(error) => {
                    metric::lookup("failed");
                    waiting.get_or_insert_with(|| Waiting::new(&self.health));
                    tracing::warn!(%topic, %id, error = chain(&error), "schema id not looked up yet");
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        };
        drop(waiting);
        let ours = schema.and_then(|schema| self.ids.alias(topic, &schema));
        metric::lookup(if ours.is_some() { "ours" } else { "foreign" });
        self.remember(topic, id, ours);
        ours
    }

    fn remembered(&self, topic: &TopicName, id: RegistryId) -> Option<Option<SchemaId>> {
        match self.known.lock().get(&(topic.clone(), id))? {
            Known::Ours(id) => Some(Some(*id)),
            Known::ForeignSince(asked) => (asked.elapsed() < FOREIGN_FOR).then_some(None),
        }
    }

    fn remember(&self, topic: &TopicName, id: RegistryId, ours: Option<SchemaId>) {
        let mut known = self.known.lock();
        if known.len() >= REMEMBERED_MAX {
            known.retain(|_, known| matches!(known, Known::Ours(_)));
        }
        if known.len() < REMEMBERED_MAX {
            let entry = ours.map_or_else(|| Known::ForeignSince(Instant::now()), Known::Ours);
            known.insert((topic.clone(), id), entry);
        }
    }
}

/// A record that is held back. The component is well again when it ends, also where its subscription was dropped meanwhile.
struct Waiting<'a>(&'a HealthHandle);

impl<'a> Waiting<'a> {
    fn new(health: &'a HealthHandle) -> Self {
        health.set(HealthState::Degraded, "a record waits for a schema id that the registry could not be asked for");
        Self(health)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.healthy();
    }
}

/// An error and its sources in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[async_trait]
impl EventLog for TranslatedLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        self.inner.ensure_topic(spec).await
    }

    async fn partitions(&self, topic: &TopicName) -> Result<u32, LogError> {
        self.inner.partitions(topic).await
    }

    async fn publish(&self, record: NewRecord) -> Result<Appended, LogError> {
        let value = record.value.map(|value| self.reader.ids.outgoing(&record.topic, value));
        self.inner.publish(NewRecord { value, ..record }).await
    }

    async fn subscribe(
        &self,
        topic: &TopicName,
        group: &GroupId,
        member: &MemberId,
        start: StartAt,
    ) -> Result<GroupSubscription, LogError> {
        let GroupSubscription { control, deliveries, handle } =
            self.inner.subscribe(topic, group, member, start).await?;
        Ok(GroupSubscription { control, deliveries: self.translated(deliveries), handle })
    }

    async fn tail(&self, topic: &TopicName, start: TailStart) -> Result<TailSubscription, LogError> {
        let TailSubscription { deliveries } = self.inner.tail(topic, start).await?;
        Ok(TailSubscription { deliveries: self.translated(deliveries) })
    }

    async fn end_offsets(&self, topic: &TopicName) -> Result<Vec<Offset>, LogError> {
        self.inner.end_offsets(topic).await
    }

    async fn committed(&self, topic: &TopicName, group: &GroupId) -> Result<Vec<Option<Offset>>, LogError> {
        self.inner.committed(topic, group).await
    }
}
