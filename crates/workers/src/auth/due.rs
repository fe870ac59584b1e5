//! What is due: the owner of a partition of `auth.commands` looks its share through each second and publishes what has to be done.
//!
//! A row in `due_by_minute` says that something may be over; the command that follows is judged at its append time by the row of the
//! thing itself, so a clock that is off makes an end later, never earlier, and a command too many does nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ridgeline_domain::{AuthOperation, DurationMs, RequestId, Timestamp};
use ridgeline_intake::AskedCommand;
use ridgeline_ports::{Partition, PlainWrite, Row, RowKey, TraceContext, partition_of};
use ridgeline_runtime::StepError;
use ridgeline_wire::action::DueItem;
use ridgeline_wire::action_row::{DueRow, SweepRow, table};
use ridgeline_wire::auth::{AuthBody, AuthReply};
use ridgeline_wire::auth_row::{self, SessionRow};
use ridgeline_wire::{decode, encode};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::command::Command;
use super::rows::{load, put};
use super::{Auth, Halt, Work};
use crate::platform::{cpu_fault, wire_fault};

/// How often due work is looked for.
const SWEEP: Duration = Duration::from_secs(1);
const MINUTE: i64 = 60_000;
/// Where a partition begins that nobody has looked through yet: everything lives for less than this.
const BACK_FIRST: i64 = 60;
/// A command that was published is not published again within this time, at first.
const PATIENCE: DurationMs = DurationMs::from_secs(10);
/// That time doubles each time, up to this: what cannot be done must not fill the topic.
const PATIENCE_MAX: DurationMs = DurationMs::from_secs(600);
/// What was not done a day after its time is given up.
const LEFT_MINUTES_MAX: i64 = 24 * 60;
/// Rows of one minute and partition that are looked at in one sweep.
const ROWS_MAX: usize = 512;
/// A row that nobody took away may be forgotten this long after its time.
const FORGOTTEN: DurationMs = DurationMs::from_days(1);

/// What may be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DueKind {
    Action,
    Session,
}

impl DueKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Session => "session",
        }
    }
}

fn bucket(minute: i64, partition: Partition) -> String {
    format!("{minute}:{}", partition.0)
}

impl Work<'_> {
    /// Notes that the thing of this id, which is also its key in `auth.commands`, is over at `at`.
    pub(super) async fn due(&self, kind: DueKind, id: &str, at: Timestamp) -> Result<(), StepError> {
        let partition = self.auth.partition(id);
        // A command that waited long may note what is past already; what was looked through is not looked at again.
        let swept = self.auth.swept_through(partition).await?;
        let now = self.auth.platform.log_time.now().map_or(swept, |now| now.millis().div_euclid(MINUTE));
        let (minute, past) = (at.millis().div_euclid(MINUTE), swept.max(now));
        let minute = if minute > past { minute } else { past + 1 };
        let key = RowKey::new(bucket(minute, partition), format!("{}:{id}", kind.as_str()));
        let write = PlainWrite { at: self.command.now, expires_at: Some(at.plus(FORGOTTEN)) };
        put(&self.auth.platform, table::DUE_BY_MINUTE, &key, &DueRow { at }, write).await
    }

    /// Takes back what [`Work::due`] noted. Where that was late it stays, and its command finds nothing to do.
    pub(super) async fn not_due(&self, kind: DueKind, id: &str, at: Timestamp) -> Result<(), StepError> {
        let minute = at.millis().div_euclid(MINUTE);
        let key = RowKey::new(bucket(minute, self.auth.partition(id)), format!("{}:{id}", kind.as_str()));
        Ok(self.auth.platform.store.delete(table::DUE_BY_MINUTE, &key, self.command.now).await?)
    }

    /// The time of something is over, says a timer.
    pub(super) async fn expire(&mut self) -> Result<AuthReply, Halt> {
        let item = self.needed(&self.command.body.due)?;
        let ended = match item.kind.as_str() {
            kind if kind == DueKind::Action.as_str() => self.expire_action().await,
            kind if kind == DueKind::Session.as_str() => self.expire_session().await,
            // Of a later version: left to its workers.
            _ => return Err(Halt::Nothing),
        };
        match ended {
            // Not yet: it stays where it is, and comes again.
            Err(Halt::Nothing) if self.is_early(item).await? => Err(Halt::Nothing),
            Err(Halt::Step(_) | Halt::Raced) => ended,
            _ => {
                self.auth.is_done(self.command).await?;
                ended
            }
        }
    }

    async fn is_early(&self, item: &DueItem) -> Result<bool, Halt> {
        let key = RowKey::new(item.bucket.clone(), format!("{}:{}", item.kind, item.id));
        let Some(found) = self.auth.platform.store.get(table::DUE_BY_MINUTE, &key).await? else { return Ok(false) };
        let row: DueRow = decode(&found.value).map_err(wire_fault)?;
        Ok(self.command.now < row.at)
    }

    /// A challenge that nobody answered in time; that it was asked for is accounted for.
    async fn expire_session(&mut self) -> Result<AuthReply, Halt> {
        let item = self.needed(&self.command.body.due)?;
        let loaded = load::<SessionRow>(&self.auth.platform, auth_row::table::SESSIONS, &item.id).await?;
        let row = loaded.ok_or(Halt::Nothing)?.row;
        if row.consumed_by.is_some() || self.command.now < row.expires_at {
            return Err(Halt::Nothing);
        }
        self.about.session = Some(row.session_id);
        self.about.user = row.user;
        Ok(AuthReply::default())
    }
}

impl Auth {
    /// Takes away what led to this command, if that was a timer. A thing may be noted twice, and its end is answered once.
    pub(super) async fn is_done(&self, command: &Command) -> Result<(), StepError> {
        let Some(item) = command.body.due.as_ref().filter(|_| command.operation == AuthOperation::Expire) else {
            return Ok(());
        };
        let key = RowKey::new(item.bucket.clone(), format!("{}:{}", item.kind, item.id));
        Ok(self.platform.store.delete(table::DUE_BY_MINUTE, &key, command.now).await?)
    }

    /// The last minute of a partition that is not looked at again, as far as this worker or the one before it has got.
    async fn swept_through(&self, partition: Partition) -> Result<i64, StepError> {
        if let Some(minute) = self.sweeping.lock().get(&partition) {
            return Ok(*minute);
        }
        Ok(self.swept(partition).await?.unwrap_or(i64::MIN / 2))
    }

    /// The partition of `auth.commands` where commands about `key` lie.
    fn partition(&self, key: &str) -> Partition {
        partition_of(key.as_bytes(), self.partitions)
    }
}

/// What a row says, if it says anything that can be done.
fn readable<'a>(key: &'a RowKey, found: &Row) -> Option<(DueRow, (&'a str, &'a str))> {
    let (kind, id) = key.clustering.split_once(':')?;
    id.parse::<RequestId>().ok()?;
    Some((decode(&found.value).ok()?, (kind, id)))
}

/// How far a partition was looked through, and what is left behind that.
#[derive(Default)]
struct Share {
    /// The minute that is looked at; those before it are over.
    minute: Option<i64>,
    /// How far a sweep has come that did not end.
    going: Option<i64>,
    /// Minutes before it in which something is left: it was published, and is not done.
    left: BTreeSet<i64>,
    /// What was published: when it may be published again, and how often it was.
    published: HashMap<String, (Timestamp, u32)>,
}

/// Sweeps until `stop`. What fails is tried again a second later.
pub(super) async fn run(auth: Arc<Auth>, stop: CancellationToken) {
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut shares: BTreeMap<Partition, Share> = BTreeMap::new();
    let mut was_failing = false;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let owned = auth.owned.lock().clone();
        // Whoever had it meanwhile went on from there.
        shares.retain(|partition, _| owned.contains(partition));
        auth.sweeping.lock().retain(|partition, _| owned.contains(partition));
        let mut failed = None;
        for partition in owned {
            let share = shares.entry(partition).or_default();
            let swept = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                swept = auth.sweep(partition, share) => swept,
            };
            failed = swept.err().or(failed);
        }
        if let Some(error) = failed.as_ref().filter(|_| !was_failing) {
            tracing::warn!(error = %error, "what is due cannot be looked through; it is tried again each second");
        }
        was_failing = failed.is_some();
    }
}

impl Auth {
    async fn sweep(&self, partition: Partition, share: &mut Share) -> Result<(), StepError> {
        let Some(now) = self.platform.log_time.now() else {
            // Any record tells the log's time.
            return super::heartbeat::beat(self).await;
        };
        let last = now.millis().div_euclid(MINUTE);
        let mut minute = match share.going.or(share.minute) {
            Some(minute) => minute,
            None => self.swept(partition).await?.map_or(last - BACK_FIRST, |through| through + 1),
        };
        // Before anything of a minute is read, so that nothing is noted in it afterwards.
        self.sweeping.lock().insert(partition, last.max(minute) - 1);
        share.left.retain(|minute| last - minute < LEFT_MINUTES_MAX);
        share.published.retain(|_, (again, _)| now < again.plus(PATIENCE_MAX));
        for left in share.left.clone() {
            if self.sweep_minute((partition, left), share, now).await? {
                share.left.remove(&left);
            }
        }
        while minute < last {
            if !self.sweep_minute((partition, minute), share, now).await? {
                share.left.insert(minute);
            }
            minute += 1;
            share.going = Some(minute);
        }
        self.sweep_minute((partition, minute), share, now).await?;
        if share.minute != Some(minute) {
            let through = share.left.first().map_or(minute, |left| *left) - 1;
            self.note_swept(partition, through, now).await?;
            share.minute = Some(minute);
        }
        share.going = None;
        Ok(())
    }

    /// Publishes what is due of a minute; whether nothing is left in it.
    async fn sweep_minute(
        &self,
        (partition, minute): (Partition, i64),
        share: &mut Share,
        now: Timestamp,
    ) -> Result<bool, StepError> {
        let bucket = bucket(minute, partition);
        let (mut after, mut is_empty): (Option<String>, bool) = (None, true);
        loop {
            let store = &self.platform.store;
            let rows = store.range(table::DUE_BY_MINUTE, &bucket, after.as_deref(), ROWS_MAX).await?;
            is_empty &= rows.is_empty();
            for (key, found) in &rows {
                let Some((row, (kind, id))) = readable(key, found) else {
                    tracing::warn!(bucket, "something due cannot be read and is dropped");
                    store.delete(table::DUE_BY_MINUTE, key, now).await?;
                    continue;
                };
                let published = share.published.get(&key.clustering).copied();
                if row.at > now || published.is_some_and(|(again, _)| now < again) {
                    continue;
                }
                self.publish_due(DueItem { kind: kind.to_owned(), id: id.to_owned(), bucket: bucket.clone() }).await?;
                let times = published.map_or(0, |(_, times)| times);
                let pause = DurationMs(PATIENCE.0.saturating_mul(1 << times.min(10)).min(PATIENCE_MAX.0));
                share.published.insert(key.clustering.clone(), (now.plus(pause), times + 1));
            }
            match rows.last() {
                Some((key, _)) if rows.len() == ROWS_MAX => after = Some(key.clustering.clone()),
                _ => return Ok(is_empty),
            }
        }
    }

    /// One thing ends once, so the request has the thing's id: however often it is published, one answer is stored.
    async fn publish_due(&self, item: DueItem) -> Result<(), StepError> {
        let Ok(id) = item.id.parse::<RequestId>() else { return Ok(()) };
        let key = item.id.clone();
        let command = AskedCommand {
            id: RequestId::from_bytes(ridgeline_vault::derive_id("expire", id)),
            operation: AuthOperation::Expire,
            key,
            body: AuthBody { due: Some(item), ..AuthBody::default() },
            trace: TraceContext::about(id),
        };
        let (sealer, entropy) = (self.sealer.clone(), self.platform.entropy.clone());
        let record = self.platform.cpu.run(move || sealer.record(command, &*entropy)).await.map_err(cpu_fault)?;
        let record = record.map_err(|error| StepError::Retry(error.to_string()))?;
        let appended = self.platform.log.publish(record).await?;
        self.platform.log_time.observe(appended.append_time);
        Ok(())
    }

    async fn swept(&self, partition: Partition) -> Result<Option<i64>, StepError> {
        let key = RowKey::single(partition.0.to_string());
        let Some(found) = self.platform.store.get(table::SWEEPS, &key).await? else { return Ok(None) };
        let row: SweepRow = decode(&found.value).map_err(wire_fault)?;
        Ok(Some(row.through.millis().div_euclid(MINUTE)))
    }

    async fn note_swept(&self, partition: Partition, minute: i64, now: Timestamp) -> Result<(), StepError> {
        let row = SweepRow { through: Timestamp::from_millis(minute * MINUTE) };
        let value = encode(&row).map_err(wire_fault)?.into();
        let write = PlainWrite { at: now, expires_at: None };
        Ok(self.platform.store.put(table::SWEEPS, &RowKey::single(partition.0.to_string()), value, write).await?)
    }
}
