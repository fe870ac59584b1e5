//! From a checked request to a durable record: what must have happened before anybody is told `accepted`.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use ridgeline_domain::{ApiKeyId, DurationMs, ErrorCode, RequestId};
use ridgeline_intake::{PreparedSample, ScanRequest, prepare_all};
use ridgeline_ports::{Cas, PlainWrite, RowKey, TraceContext};
use ridgeline_vault::{Vault, request_digest};
use ridgeline_wire::row::{IdempotencyRow, RequestRow, table};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::input::{SAMPLES_MAX, ScanInput};
use super::lookup::{Status, await_registered, request_row};
use super::view::{AcceptedView, json_response};
use super::wait::preferred_wait;
use crate::auth::Caller;
use crate::gateway::{Shared, Upload};
use crate::problem::Problem;
use crate::text::hex;
use crate::waiting::Waiting;

const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;
/// How long a request and its Idempotency-Key are remembered; as long as `scans` keeps the record.
pub(crate) const REMEMBERED: DurationMs = DurationMs::from_days(7);

/// A request that may be published.
pub(crate) struct Submission {
    caller: Caller,
    input: ScanInput,
    idempotency_key: Option<String>,
    wait: Option<Duration>,
    trace: TraceContext,
}

impl Submission {
    /// With the wishes of the request's headers.
    ///
    /// # Errors
    /// `MalformedRequest` for an Idempotency-Key that is none.
    pub(crate) fn of(
        caller: Caller,
        input: ScanInput,
        (headers, trace): (&HeaderMap, TraceContext),
        wait_max: Duration,
    ) -> Result<Self, Problem> {
        let wait = preferred_wait(headers, wait_max);
        Ok(Self { caller, input, idempotency_key: idempotency_key(headers)?, wait, trace })
    }

    /// One line of a batch.
    pub(crate) const fn line(caller: Caller, input: ScanInput, trace: TraceContext) -> Self {
        Self { caller, input, idempotency_key: None, wait: None, trace }
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let wrong = || Problem::malformed("Idempotency-Key must be one value of 1 to 255 printable characters of ASCII");
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().map_err(|_| wrong())?;
    let valid = (1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
        && values.next().is_none();
    if valid { Ok(Some(text.to_owned())) } else { Err(wrong()) }
}

/// 202 as soon as the request is durable, or 200 if the caller waits and the decision comes in time.
pub(crate) async fn answer_submission(
    shared: &Shared,
    submission: Submission,
    room: Option<Upload>,
) -> Result<Response, Problem> {
    let (caller, wait) = (submission.caller.clone(), submission.wait);
    let deadline = wait.map(|wait| Instant::now() + wait);
    let (id, waiting) = publish(shared, submission, deadline).await?;
    drop(room);
    if let (Some(wait), Some(waiting), Some(deadline)) = (wait, waiting, deadline) {
        // From here on the request is durable: whatever goes wrong, its caller gets the id.
        let answered = await_registered(shared, id, waiting, deadline).await;
        let decision = answered.and_then(|answer| Ok(Status::own(id, answer).view(shared, &caller)?.decision));
        if let Ok(Some(decision)) = decision {
            let mut response = json_response(StatusCode::OK, &decision);
            if let Ok(applied) = HeaderValue::from_str(&format!("wait={}", wait.as_secs())) {
                response.headers_mut().insert("preference-applied", applied);
            }
            return Ok(response);
        }
    }
    let path = format!("/api/v1/scans/{id}");
    let status_url = format!("{}{path}", shared.parts.public_url);
    let body = AcceptedView { confirmation_id: id.to_string(), status: "accepted", status_url };
    let mut response = json_response(StatusCode::ACCEPTED, &body);
    if let Ok(location) = HeaderValue::from_str(&path) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Prepares the samples, claims the Idempotency-Key, writes the request's row, publishes. In this order: a request that was
/// answered with its id can always be looked up, and a repetition finds what it repeats.
pub(crate) async fn publish(
    shared: &Shared,
    submission: Submission,
    deadline: Option<Instant>,
) -> Result<(RequestId, Option<Waiting>), Problem> {
    let Submission { caller, input, idempotency_key, trace, .. } = submission;
    let vault = shared.parts.vault.clone();
    let with_digest = idempotency_key.is_some();
    let prepared =
        shared.parts.cpu.run(move || Prepared::new(&input, with_digest.then_some(&vault)).map(|p| (p, input)));
    let (Prepared { samples, digest }, input) = prepared.await??;

    let fresh = shared.parts.entropy.request_id();
    let id = match (idempotency_key, digest) {
        (Some(key), Some(digest)) => claim(shared, &caller.key, &key, &digest, fresh).await?,
        _ => fresh,
    };
    let waiting = deadline.map(|deadline| Waiting::register(shared, id, deadline, id == fresh)).transpose()?;
    let now = shared.parts.clock.now();
    let request = ScanRequest {
        request_id: id,
        operation: input.operation,
        subject: input.subject,
        reader: None,
        captured_at: now,
        position: input.position,
        samples,
        options: input.options,
        metadata: input.metadata,
        api_key: Some(caller.key.clone()),
    };
    let row = RequestRow {
        api_key: Some(caller.key.to_string()),
        agent: shared.parts.signer.agent().clone(),
        operation: request.operation,
        accepted_at: now,
    };
    let (signer, topic) = (shared.parts.signer.clone(), shared.topics.scans.clone());
    let entropy = shared.parts.entropy.clone();
    let record =
        shared.parts.cpu.run(move || signer.traced_record(topic, &request, &trace, entropy.as_ref())).await??;
    remember(shared, id, &row, id == fresh).await?;
    shared.parts.log.publish(record).await?;
    Ok((id, waiting))
}

/// Writes the row of a request unless an earlier one is there: the first acceptance counts.
pub(crate) async fn remember(shared: &Shared, id: RequestId, row: &RequestRow, new: bool) -> Result<(), Problem> {
    if !new && request_row(shared, id).await?.is_some() {
        return Ok(());
    }
    let write = PlainWrite { at: row.accepted_at, expires_at: Some(row.accepted_at.plus(REMEMBERED)) };
    let value = ridgeline_wire::encode(row)?.into();
    shared.parts.store.put(table::REQUESTS, &RowKey::single(id.to_string()), value, write).await?;
    Ok(())
}

/// The request that owns the Idempotency-Key: `fresh`, or the first one if this is a repetition.
async fn claim(
    shared: &Shared,
    caller: &ApiKeyId,
    idempotency_key: &str,
    digest: &[u8; 32],
    fresh: RequestId,
) -> Result<RequestId, Problem> {
    /// A row is replaced only after it has expired, so a second round sees the winner's fresh row.
    const ROUNDS: usize = 3;
    let scope = [b"idempotency-key".as_slice(), caller.as_str().as_bytes(), idempotency_key.as_bytes()];
    let key = RowKey::single(hex(&request_digest(&shared.parts.vault, scope)));
    let now = shared.parts.clock.now();
    let expires_at = Some(now.plus(REMEMBERED));
    let row = IdempotencyRow { request_id: fresh, request_digest: digest.to_vec() };
    let value = bytes::Bytes::from(ridgeline_wire::encode(&row)?);
    let store = &shared.parts.store;
    let mut outcome = store.insert_new(table::IDEMPOTENCY, &key, value.clone(), expires_at).await?;
    for _ in 0..ROUNDS {
        match outcome {
            Cas::Applied(_) => return Ok(fresh),
            Cas::Conflict(None) => {
                outcome = store.insert_new(table::IDEMPOTENCY, &key, value.clone(), expires_at).await?;
            }
            Cas::Conflict(Some(held)) if held.expires_at.is_some_and(|expires| expires <= now) => {
                outcome = store.replace(table::IDEMPOTENCY, &key, held.version, value.clone(), expires_at).await?;
            }
            Cas::Conflict(Some(held)) => {
                let held: IdempotencyRow = ridgeline_wire::decode(&held.value)?;
                return if held.request_digest == digest {
                    Ok(held.request_id)
                } else {
                    Err(Problem::new(
                        ErrorCode::IdempotencyConflict,
                        "another request was sent under this Idempotency-Key within 7 days",
                    ))
                };
            }
        }
    }
    Err(Problem::unavailable("the Idempotency-Key is contended"))
}

/// Samples in the form in which they travel, and the digest by which repetitions are recognised.
struct Prepared {
    samples: Vec<PreparedSample>,
    digest: Option<[u8; 32]>,
}

impl Prepared {
    fn new(input: &ScanInput, vault: Option<&Vault>) -> Result<Self, Problem> {
        /// More cannot be sealed into one record; stopping here bounds what a few compressed images unfold to.
        const PREPARED_BYTES_MAX: usize = 11 << 20;
        let (mut samples, mut bytes) = (Vec::with_capacity(input.samples.len()), 0);
        for (at, raw) in input.samples.iter().enumerate() {
            let pointed = |error: ridgeline_intake::IntakeError| match error.code() {
                ErrorCode::Internal => error.into(),
                code => Problem::field(code, format!("/samples/{at}"), error.public_detail()),
            };
            let prepared = prepare_all(raw, input.position).map_err(pointed)?;
            bytes += prepared.iter().map(|sample| sample.bytes().len()).sum::<usize>();
            if bytes > PREPARED_BYTES_MAX {
                let detail = format!("all samples together have more than {PREPARED_BYTES_MAX} bytes");
                return Err(Problem::new(ErrorCode::SealedTooLarge, detail));
            }
            samples.extend(prepared);
            if samples.len() > SAMPLES_MAX {
                let detail = format!("the samples hold more than {SAMPLES_MAX} impressions together");
                return Err(Problem::field(ErrorCode::MalformedRequest, "/samples", detail));
            }
        }
        Ok(Self { samples, digest: vault.map(|vault| digest(vault, input)) })
    }
}

/// Keyed digest over the fields and the samples' digests. Fields that were left out and fields with their default are equal.
fn digest(vault: &Vault, input: &ScanInput) -> [u8; 32] {
    let options = &input.options;
    let number = |value: Option<u64>| value.map_or_else(Vec::new, |value| value.to_be_bytes().to_vec());
    let mut parts = vec![
        input.operation.as_str().as_bytes().to_vec(),
        input.subject.as_ref().map_or_else(Vec::new, |subject| subject.as_str().as_bytes().to_vec()),
        vec![input.position.iso_code()],
        number(options.threshold_confidence.map(|confidence| confidence.get().to_bits())),
        number(options.top_k.map(u64::from)),
        vec![u8::from(options.strict_quality)],
        number(Some(input.samples.len() as u64)),
    ];
    for sample in &input.samples {
        parts.push(number(sample.dpi.map(u64::from)));
        parts.push(Sha256::digest(sample.bytes.expose()).to_vec());
    }
    for (name, value) in &input.metadata {
        parts.push(name.as_bytes().to_vec());
        parts.push(value.as_bytes().to_vec());
    }
    request_digest(vault, parts.iter().map(Vec::as_slice))
}
