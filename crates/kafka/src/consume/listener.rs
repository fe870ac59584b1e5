//! What the client library tells a consumer: rebalances, errors, statistics. Noted here, acted upon by the polling thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use ridgeline_ports::Partition;

use crate::metric;
use crate::status::{Status, forward_log};

/// A membership change that the library waits for us to carry out.
#[derive(Debug)]
pub(super) enum Change {
    Assign(Vec<Partition>),
    Revoke {
        partitions: Vec<Partition>,
        /// The group has given them to others already.
        lost: bool,
    },
}

/// The context of a consumer.
pub(super) struct Listener {
    status: Arc<Status>,
    group: String,
    changes: Mutex<VecDeque<Change>>,
    /// The polling thread has ended; changes are carried out at once, without anyone's ack.
    closing: AtomicBool,
    heard: AtomicU64,
}

impl Listener {
    pub(super) fn new(status: Arc<Status>, group: &str) -> Self {
        let (changes, closing, heard) = (Mutex::default(), AtomicBool::new(false), AtomicU64::new(0));
        Self { status, group: group.to_owned(), changes, closing, heard }
    }

    pub(super) fn take_changes(&self) -> VecDeque<Change> {
        std::mem::take(&mut self.changes.lock())
    }

    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// How much was told so far. A poll that returns nothing and leaves this as it was has found the queue empty.
    pub(super) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Acquire)
    }

    fn hear(&self) {
        self.heard.fetch_add(1, Ordering::AcqRel);
    }
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.hear();
        forward_log("consumer", level, facility, message);
    }

    fn error(&self, cause: Cause, reason: &str) {
        self.hear();
        // The end of a partition comes as an error; a consumer's fatal error ends its subscription, not the process's clients.
        match cause.rdkafka_error_code() {
            Some(Code::PartitionEOF) => {}
            Some(Code::Fatal) => tracing::error!(group = self.group, reason, "kafka consumer failed for good"),
            _ => self.status.error("consumer", &cause, reason),
        }
    }

    fn stats(&self, statistics: rdkafka::Statistics) {
        self.hear();
        metric::consumer(&statistics, &self.group);
    }
}

impl ConsumerContext for Listener {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        self.hear();
        let is_assign = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            let done = if is_assign { consumer.incremental_assign(list) } else { consumer.incremental_unassign(list) };
            if let Err(error) = done {
                tracing::debug!(group = self.group, %error, "a closing consumer could not follow a rebalance");
                let _ = consumer.unassign();
            }
            return;
        }
        let numbers =
            list.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()).collect::<Vec<_>>();
        let partitions = numbers.into_iter().map(Partition).collect();
        self.changes.lock().push_back(if is_assign {
            Change::Assign(partitions)
        } else {
            Change::Revoke { partitions, lost: consumer.assignment_lost() }
        });
    }
}
