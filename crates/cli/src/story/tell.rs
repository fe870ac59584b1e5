//! Makes the requests of the story, two at a time, through HTTP like any caller.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use indicatif::ProgressBar;
use parking_lot::Mutex;
use ridgeline_client::{Client, ClientError, Decision, Sample, Scan, SealedTemplate};
use ridgeline_domain::{Operation, Outcome};
use tokio::time::Instant;

use super::cast::Picture;
use super::plan::Source;
use super::{Cast, Ended, Finger, Step, plan};
use crate::{remote, work};

/// Requests in flight: what two people at two readers would do.
const IN_FLIGHT: usize = 2;
/// Longest wait for one decision.
const DEADLINE: Duration = Duration::from_secs(60);

/// The story as it is told.
struct Telling {
    client: Client,
    cast: Cast,
    began: Instant,
    bar: ProgressBar,
    first_decision: Mutex<Option<Duration>>,
}

/// A finger that has had its turn.
struct Known {
    finger: Finger,
    template: Option<SealedTemplate>,
}

/// Tells the story; returns what came of each request and how long after `began` the first decision came.
///
/// # Errors
/// If a finger cannot be made or read. What the service refuses is part of the story.
pub(crate) async fn tell(client: Client, cast: Cast, began: Instant) -> anyhow::Result<(Vec<Ended>, Duration)> {
    let fingers = cast.len();
    let bar = work::bar(fingers as u64 - 1, "enrolling");
    let telling = Arc::new(Telling { client, cast, began, bar, first_decision: Mutex::new(None) });
    let enrolments = futures::stream::iter(0..fingers).map(|index| telling.clone().enrol(index));
    let mut known = Vec::new();
    let mut ended = Vec::new();
    let mut enrolments = enrolments.buffered(IN_FLIGHT);
    while let Some(enrolment) = enrolments.next().await {
        let (finger, end) = enrolment?;
        known.push(finger);
        ended.extend(end);
    }
    let shape: Vec<_> = known.iter().map(|known| (known.finger.subject.clone(), known.finger.pictures.len())).collect();
    let steps = plan(&shape);
    telling.bar.set_length(steps.len() as u64);
    telling.bar.set_position(0);
    telling.bar.set_message("comparing");
    let known = Arc::new(known);
    let requests = futures::stream::iter(steps).map(|step| telling.clone().perform(step, known.clone()));
    let mut requests = requests.buffered(IN_FLIGHT);
    while let Some(end) = requests.next().await {
        ended.push(end?);
    }
    telling.bar.finish_and_clear();
    let first = telling.first_decision.lock().unwrap_or_default();
    Ok((ended, first))
}

impl Telling {
    /// Makes a finger and enrols it, unless it is the stranger.
    async fn enrol(self: Arc<Self>, index: usize) -> anyhow::Result<(Known, Option<Ended>)> {
        let own = self.clone();
        let finger = tokio::task::spawn_blocking(move || own.cast.finger(index)).await.context("a finger")??;
        if index + 1 == self.cast.len() {
            return Ok((Known { finger, template: None }, None));
        }
        let step = Step::enrol(&finger.subject, index);
        let pictures: Vec<&Picture> = finger.pictures.iter().take(2).collect();
        let (ended, decision) = self.request(&step, samples(&pictures), names(&pictures)).await;
        let enrolled = decision.filter(|decision| decision.outcome == Outcome::Enrolled);
        let template = enrolled.and_then(|decision| decision.template);
        Ok((Known { finger, template }, Some(ended)))
    }

    async fn perform(self: Arc<Self>, step: Step, known: Arc<Vec<Known>>) -> anyhow::Result<Ended> {
        let (samples, image) = match &step.source {
            Source::Impressions { finger, which } => {
                let of = known.get(*finger).context("a finger of the plan")?;
                let pictures: Vec<&Picture> = which.iter().filter_map(|which| of.finger.pictures.get(*which)).collect();
                (samples(&pictures), names(&pictures))
            }
            Source::NoFinger => {
                let picture = self.cast.no_finger()?;
                (samples(&[&picture]), picture.name)
            }
            Source::EnrolledTemplate { finger } => {
                let template = known.get(*finger).and_then(|known| known.template.as_ref());
                let image = "enrolled-template".to_owned();
                let Some(template) = template else {
                    return Ok(step.end(image, 0.0, Err("no template came back from enrolment".to_owned())));
                };
                (vec![Sample::sealed(template)], image)
            }
        };
        Ok(self.request(&step, samples, image).await.0)
    }

    async fn request(&self, step: &Step, samples: Vec<Sample>, image: String) -> (Ended, Option<Decision>) {
        let scan = Scan::new(step.operation, step.subject.clone(), samples);
        let begun = Instant::now();
        let answer = self.client.decide(&scan, remote::idempotency_key().as_ref(), DEADLINE).await;
        let ms = begun.elapsed().as_secs_f64() * 1_000.0;
        if answer.is_ok() {
            self.first_decision.lock().get_or_insert_with(|| self.began.elapsed());
        }
        if step.operation != Operation::Enrol || answer.is_ok() {
            self.bar.inc(1);
        }
        let ended = step.end(image, ms, answer.as_ref().map_err(said));
        (ended, answer.ok())
    }
}

/// What stands in place of an outcome where there is none.
fn said(error: &ClientError) -> String {
    match error.problem() {
        Some(problem) if !problem.code.is_empty() => problem.code.clone(),
        _ => error.to_string(),
    }
}

fn samples(pictures: &[&Picture]) -> Vec<Sample> {
    pictures.iter().map(|picture| Sample::image(picture.format, picture.bytes.expose(), picture.dpi)).collect()
}

fn names(pictures: &[&Picture]) -> String {
    let names: Vec<&str> = pictures.iter().map(|picture| picture.name.as_str()).collect();
    names.join("+")
}
