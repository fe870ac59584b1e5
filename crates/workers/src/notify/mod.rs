//! The notify worker: tells phones that an action waits, and initiating clients that it is decided.
//!
//! What is told stands in the action's row; the record only says whom. Each device has a row of its own in `notifications`, and one
//! device's failure stops no other. A device that cannot be told now is tried again until the action's time is over.

mod callback;
mod push;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use ridgeline_domain::{DeliveryStatus, DeviceId, DurationMs, ErrorCode, Severity, Timestamp};
use ridgeline_egress::Untrusted;
use ridgeline_ports::{Cas, Partition, PushSender, Record, RowKey, TraceContext, Version};
use ridgeline_runtime::{Ending, Handler, HoldKey, Poison, StepError, metric, run};
use ridgeline_vault::{Aad, Purpose};
use ridgeline_wire::action::Notice;
use ridgeline_wire::action_row::{ActionRow, DeliveryRow, table};
use ridgeline_wire::auth_row::AuditDetails;
use ridgeline_wire::message::Audit;
use ridgeline_wire::{Topic, decode, encode};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::auth::notice;
use crate::platform::{Outgoing, Platform, WorkerError, vault_fault, wire_fault};
use crate::refusal;

/// What a notify worker needs beside the platform.
#[derive(Clone)]
pub struct NotifyParts {
    /// Takes notifications to devices; `None`: there is no push service, and each fails.
    pub push: Option<Arc<dyn PushSender>>,
    /// Calls the addresses that initiating clients named.
    pub callbacks: Untrusted,
    /// Before the second call of an address; the third waits six times as long. Usually [`CALLBACK_PAUSE`].
    pub callback_pause: DurationMs,
}

/// Before a callback is tried again.
pub const CALLBACK_PAUSE: DurationMs = DurationMs::from_secs(5);

/// Runs a notify worker until `stop`.
///
/// # Errors
/// When the log refuses for good or a step is fatal; the process should stop.
pub async fn run_notify(
    platform: Arc<Platform>,
    parts: NotifyParts,
    member: &str,
    stop: CancellationToken,
) -> Result<(), WorkerError> {
    let health = platform.health.component("notify");
    let spec = platform.spec("notify", Topic::Notifications, member);
    let ports = platform.ports("notify");
    let notify = Notify { platform, parts, waiting: Mutex::default() };
    Ok(run(spec, ports, Arc::new(notify), health, stop).await?)
}

struct Notify {
    platform: Arc<Platform>,
    parts: NotifyParts,
    /// What is tried again later.
    waiting: Mutex<HashMap<HoldKey, Told>>,
}

/// A notice in work.
#[derive(Clone)]
struct Told {
    notice: Notice,
    trace: TraceContext,
    /// Append time of the record, and when it was read: waits are counted by the clock of its partition.
    appended: (Timestamp, Instant),
    /// Deliveries whose end has been accounted for since the record was read.
    accounted: Arc<Mutex<BTreeSet<String>>>,
}

impl Told {
    /// The time of the record's partition: behind the log's while the worker catches up.
    fn partition_time(&self) -> Timestamp {
        let (at, read) = self.appended;
        at.plus(DurationMs(i64::try_from(read.elapsed().as_millis()).unwrap_or(i64::MAX)))
    }
}

/// A delivery as read.
struct Delivery {
    row: DeliveryRow,
    key: RowKey,
    version: Version,
}

#[async_trait]
impl Handler for Notify {
    /// One notice at a time, its timer included; others of the same user do not wait for it.
    fn lane(&self, record: &Record) -> Bytes {
        notice_in(record).map_or_else(|_| record.key.clone(), |notice| lane_of(&notice))
    }

    async fn handle(&self, record: Arc<Record>) -> Result<Ending, StepError> {
        self.platform.log_time.observe(record.append_time);
        let notice = notice_in(&record)?;
        if record.key != notice.user.as_str().as_bytes() {
            return Err(StepError::poison(ErrorCode::RecordInvalid, "the record lies under a foreign key"));
        }
        let key = HoldKey::of(&record, lane_of(&notice));
        if self.waiting.lock().contains_key(&key) {
            // A copy: what waits already answers for it.
            return Ok(Ending::Hold { key, deadline: None });
        }
        let trace = TraceContext::of(&record.headers).unwrap_or_else(|| TraceContext::about(notice.request_id));
        self.told(
            key,
            Told { notice, trace, appended: (record.append_time, Instant::now()), accounted: Arc::default() },
        )
        .await
        .map(|ending| match ending {
            // Nothing is held yet.
            Ending::Release(_) => Ending::Done,
            other => other,
        })
    }

    async fn timer(&self, key: HoldKey) -> Result<Ending, StepError> {
        let told = self.waiting.lock().get(&key).cloned();
        match told {
            Some(told) => self.told(key, told).await,
            None => Ok(Ending::Release(key)),
        }
    }

    async fn poisoned(&self, record: Arc<Record>, poison: &Poison) -> Result<(), StepError> {
        if let Ok(notice) = notice_in(&record) {
            self.waiting.lock().remove(&HoldKey::of(&record, lane_of(&notice)));
        }
        refusal::audit(&self.platform, &record, poison.code).await
    }

    fn released(&self, partitions: &[Partition]) {
        self.waiting.lock().retain(|key, _| !partitions.contains(&key.partition));
    }
}

fn notice_in(record: &Record) -> Result<Notice, StepError> {
    let tombstone = || StepError::poison(ErrorCode::RecordUndecodable, "a tombstone is no notice");
    let value = record.value.as_ref().ok_or_else(tombstone)?;
    decode(value).map_err(|error| StepError::poison(error.code(), error.to_string()))
}

fn lane_of(notice: &Notice) -> Bytes {
    Bytes::from(format!("{}:{}:{}", notice.request_id, notice.kind, notice.user))
}

impl Notify {
    /// Tells whoever has not been told; holds the record for those who cannot be told now.
    async fn told(&self, key: HoldKey, told: Told) -> Result<Ending, StepError> {
        let again = match told.notice.kind.as_str() {
            notice::REQUEST => self.ask_devices(&told).await?,
            notice::CALLBACK => self.call_back(&told).await?,
            // Of a later version.
            _ => None,
        };
        match again {
            Some(deadline) => {
                self.waiting.lock().insert(key.clone(), told);
                Ok(Ending::Hold { key, deadline: Some(deadline) })
            }
            None => {
                self.waiting.lock().remove(&key);
                Ok(Ending::Release(key))
            }
        }
    }

    /// The log's time, which is at least that of the notice.
    fn now(&self, notice: &Notice) -> Timestamp {
        self.platform.log_time.now().map_or(notice.created_at, |now| now.max(notice.created_at))
    }

    async fn action(&self, notice: &Notice) -> Result<Option<ActionRow>, StepError> {
        let key = RowKey::single(notice.action_id.to_string());
        let row = self.platform.store.get(table::ACTIONS, &key).await?;
        row.map(|row| decode(&row.value).map_err(wire_fault)).transpose()
    }

    /// A text of the action's row.
    fn opened(&self, notice: &Notice, column: &str, ciphertext: &[u8]) -> Result<String, StepError> {
        let aad = Aad::new(table::ACTIONS.name, &notice.action_id.to_string(), column);
        let bytes = self.platform.vault.open(Purpose::Field, &aad, ciphertext).map_err(|error| vault_fault(&error))?;
        String::from_utf8(bytes.expose().clone())
            .map_err(|_| StepError::poison(ErrorCode::Internal, "a stored action cannot be read"))
    }

    /// The delivery to a device, or to the initiating client; made if it is not there.
    async fn delivery(&self, notice: &Notice, device: Option<DeviceId>) -> Result<Delivery, StepError> {
        let store = &self.platform.store;
        let who = device.map_or_else(|| notice.kind.clone(), |device| device.to_string());
        let key = RowKey::new(notice.action_id.to_string(), who);
        let row = DeliveryRow {
            action_id: notice.action_id,
            user: notice.user.clone(),
            device_id: device,
            kind: notice.kind.clone(),
            status: DeliveryStatus::Pending,
            attempts: 0,
            message_id: None,
            error: None,
            created_at: notice.created_at,
            sent_at: None,
            delivered_at: None,
            expires_at: notice.expires_at,
            updated_at: notice.created_at,
        };
        let value = encode(&row).map_err(wire_fault)?.into();
        match store.insert_new(table::NOTIFICATIONS, &key, value, Some(notice.expires_at)).await? {
            Cas::Applied(version) => Ok(Delivery { row, key, version }),
            Cas::Conflict(Some(there)) => {
                let row = decode(&there.value).map_err(wire_fault)?;
                Ok(Delivery { row, key, version: there.version })
            }
            Cas::Conflict(None) => Err(StepError::Retry("a delivery vanished while it was read".to_owned())),
        }
    }

    /// Writes a delivery as it was changed.
    async fn note(&self, delivery: &mut Delivery, now: Timestamp) -> Result<(), StepError> {
        delivery.row.updated_at = now;
        let value = encode(&delivery.row).map_err(wire_fault)?.into();
        let expires = Some(delivery.row.expires_at);
        let written =
            self.platform.store.replace(table::NOTIFICATIONS, &delivery.key, delivery.version, value, expires).await?;
        match written {
            Cas::Applied(version) => {
                delivery.version = version;
                Ok(())
            }
            // The device has said that it arrived, or its time was over: that is the later word.
            Cas::Conflict(Some(there)) => {
                delivery.row = decode(&there.value).map_err(wire_fault)?;
                delivery.version = there.version;
                Ok(())
            }
            Cas::Conflict(None) => Err(StepError::Retry("a delivery vanished while it was written".to_owned())),
        }
    }

    /// Accounts for a delivery that has come to its end, once for each time that its record is read; publishing it again repeats its id.
    async fn account(&self, told: &Told, delivery: &DeliveryRow) -> Result<(), StepError> {
        let notice = &told.notice;
        let sent = matches!(delivery.status, DeliveryStatus::Sent | DeliveryStatus::Delivered);
        let who = &delivery.device_id;
        let who = who.map_or_else(|| notice.kind.clone(), |device| device.to_string());
        if told.accounted.lock().contains(&who) {
            return Ok(());
        }
        let event_id = format!("{}:{}:{who}", notice.request_id, notice.kind);
        let details = AuditDetails {
            severity: if sent { Severity::Info } else { Severity::Warning },
            user: Some(notice.user.clone()),
            device_id: delivery.device_id,
            session_id: None,
            family_id: None,
            action_id: Some(notice.action_id),
            address: String::new(),
            user_agent: None,
        };
        let platform = &self.platform;
        let aad = Aad::new(Topic::Audit.row().name, &event_id, "details");
        let details = encode(&details).map_err(wire_fault)?;
        let details = platform.vault.seal(Purpose::Field, &aad, &details, &*platform.entropy);
        let audit = Audit {
            event_id: event_id.clone(),
            event_type: format!("notify.{}", notice.kind),
            occurred_at: delivery.updated_at,
            request_id: Some(notice.request_id),
            actor: notice.user.to_string(),
            reader: None,
            subject_id: None,
            operation: None,
            outcome: if sent { "sent" } else { "failed" }.to_owned(),
            reason: delivery.error.clone().filter(|_| !sent),
            details: Some(details.map_err(|error| vault_fault(&error))?),
        };
        let to = Outgoing::new(Topic::Audit, notice.user.as_str(), event_id).traced(&told.trace);
        platform.publish(to, &audit).await?;
        told.accounted.lock().insert(who);
        metrics::counter!(metric::AUDIT_EVENTS, "role" => "worker").increment(1);
        Ok(())
    }
}
