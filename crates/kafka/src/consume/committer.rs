//! Commits of one member, one after the other, on a thread of their own: the library's commit blocks until the group's
//! coordinator has answered, and the polling thread must not.

use std::sync::{Arc, mpsc};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::Offset as Place;
use ridgeline_ports::{LogError, Offset, Partition, TopicName};

use super::listener::Listener;
use super::member::{Job, Membership};
use crate::error::{code_of, unavailable};
use crate::status::Status;
use crate::topics::list;

pub(super) struct Committer {
    pub(super) consumer: Arc<BaseConsumer<Listener>>,
    pub(super) member: Arc<Membership>,
    pub(super) topic: TopicName,
    pub(super) status: Arc<Status>,
}

impl Committer {
    /// Works until nobody can submit a job any more.
    pub(super) fn run(self, jobs: &mpsc::Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Commit { offsets, reply } => drop(reply.send(self.commit(&offsets))),
                Job::Settle { offsets, reply } => {
                    let done = self.store(&offsets);
                    if let Err(error) = &done {
                        tracing::warn!(topic = %self.topic, %error, "offsets of a revocation are not committed; their records will be read again");
                    }
                    // The polling thread may have given up.
                    let _ = reply.try_send(done.is_ok());
                }
            }
        }
    }

    fn commit(&self, offsets: &[(Partition, Offset)]) -> Result<(), LogError> {
        if !self.member.owns_all(offsets) {
            return Err(LogError::Closed);
        }
        self.store(offsets).map_err(|cause| match code_of(&cause) {
            Some(Code::FencedInstanceId) => LogError::Closed,
            // A generation that has passed while the partition was ours: the next one commits.
            _ if self.member.owns_all(offsets) => unavailable("cannot commit", &cause, &self.status),
            _ => LogError::Closed,
        })
    }

    fn store(&self, offsets: &[(Partition, Offset)]) -> Result<(), Cause> {
        if offsets.is_empty() {
            return Ok(());
        }
        let place = |offset: Offset| Place::Offset(i64::try_from(offset.0).unwrap_or(i64::MAX));
        let list = list(&self.topic, offsets.iter().map(|(at, offset)| (*at, place(*offset))))?;
        self.consumer.commit(&list, CommitMode::Sync)
    }
}
