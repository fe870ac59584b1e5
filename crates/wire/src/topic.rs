//! The topic table: every topic with its key, schema, partitions, retention, writers and readers.

use ridgeline_domain::DurationMs;
use ridgeline_ports::{Cleanup, TopicName, TopicSpec};

use crate::codec::{Encoded, SchemaId};
use crate::{action, auth, message};

/// Largest message: a sealed record of 11 MiB and its envelope.
const SCAN_BYTES_MAX: usize = 12 * 1024 * 1024;
const RECORD_BYTES_MAX: usize = 1024 * 1024;
/// A dead letter holds a whole scan.
const DEAD_LETTER_BYTES_MAX: usize = 13 * 1024 * 1024;
const HOUR: DurationMs = DurationMs(3_600_000);

/// Header of `gallery`: the version of the subject's row that a record states, in decimal. A tombstone has no other place for it.
pub const GALLERY_VERSION: &str = "ce_galleryversion";

/// Header of `decisions`: what a decision is about beside its request, for those who wait for news of that: the id of an action.
pub const SUBJECT: &str = "ce_subject";

/// The topics of this version. The number of a topic never changes: schema ids are made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Requests: sealed samples, signed by the agent.
    Scans,
    /// Whole template sets, compacted.
    Gallery,
    /// Templates to be searched by every shard.
    Probes,
    /// Announcements of searches and shards' answers.
    Partials,
    /// How requests ended; public.
    Decisions,
    /// What is asked of the auth workers, sealed to them.
    AuthCommands,
    /// Tokens that end before their time, and a heartbeat.
    Revocations,
    /// What must be accounted for; public.
    Audit,
    /// Who must be told of what.
    Notifications,
    /// What could not be processed.
    DeadLetters,
}

/// Who writes or reads a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Capture agent.
    Agent,
    /// HTTP layer.
    Gateway,
    /// 1:1, enrolment, extraction.
    Matcher,
    /// Gallery shard.
    Gallery,
    /// Joins the shards' answers.
    Merger,
    /// Devices, tokens, confirmations.
    Auth,
    /// Tells phones and callers.
    Notify,
    /// Anyone outside with an ordinary client.
    Downstream,
    /// People with the operator tools.
    Operator,
}

/// Which of the two sets of partition counts applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    /// One process on one machine.
    Embedded,
    /// A Kafka cluster; the counts are for ever.
    Kafka,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct TopicRow {
    /// The topic.
    pub topic: Topic,
    /// Name without prefix.
    pub name: &'static str,
    /// What the key is.
    pub key: &'static str,
    /// Schema of the value.
    pub schema: SchemaId,
    /// Partitions when embedded.
    pub partitions_embedded: u32,
    /// Partitions on Kafka.
    pub partitions_kafka: u32,
    /// Retention or compaction.
    pub cleanup: Cleanup,
    /// Largest record.
    pub record_bytes_max: usize,
    /// Whether its schema is a promise to others.
    pub public: bool,
    /// Who writes.
    pub writers: &'static [Role],
    /// Who reads.
    pub readers: &'static [Role],
}

const fn keep(retention: DurationMs) -> Cleanup {
    Cleanup::Delete { retention }
}

const ROW: TopicRow = TopicRow {
    topic: Topic::Scans,
    name: "scans",
    key: "subject id; request id for identify and extract",
    schema: message::Scan::ID,
    partitions_embedded: 8,
    partitions_kafka: 48,
    cleanup: keep(DurationMs::from_days(7)),
    record_bytes_max: RECORD_BYTES_MAX,
    public: false,
    writers: &[],
    readers: &[],
};

const TABLE: &[TopicRow] = &[
    TopicRow {
        record_bytes_max: SCAN_BYTES_MAX,
        writers: &[Role::Agent, Role::Gateway],
        readers: &[Role::Matcher],
        ..ROW
    },
    TopicRow {
        topic: Topic::Gallery,
        name: "gallery",
        key: "subject id",
        schema: message::Gallery::ID,
        partitions_kafka: 64,
        cleanup: Cleanup::Compact { delete_retention: DurationMs::from_days(7) },
        // Shards publish again what lags behind its row.
        writers: &[Role::Matcher, Role::Gallery],
        readers: &[Role::Gallery],
        ..ROW
    },
    TopicRow {
        topic: Topic::Probes,
        name: "probes",
        key: "request id",
        schema: message::Probe::ID,
        partitions_kafka: 8,
        cleanup: keep(HOUR),
        writers: &[Role::Matcher],
        readers: &[Role::Gallery],
        ..ROW
    },
    TopicRow {
        topic: Topic::Partials,
        name: "partials",
        key: "request id",
        schema: message::Partials::ID,
        partitions_kafka: 32,
        cleanup: keep(HOUR),
        writers: &[Role::Matcher, Role::Gallery],
        readers: &[Role::Merger],
        ..ROW
    },
    TopicRow {
        topic: Topic::Decisions,
        name: "decisions",
        key: "request id",
        schema: message::Decision::ID,
        partitions_kafka: 32,
        public: true,
        writers: &[Role::Matcher, Role::Merger, Role::Auth],
        readers: &[Role::Gateway, Role::Downstream],
        ..ROW
    },
    TopicRow {
        topic: Topic::AuthCommands,
        name: "auth.commands",
        key: "session, family, confirmation or device id",
        schema: auth::AuthCommand::ID,
        partitions_kafka: 32,
        cleanup: keep(DurationMs::from_days(1)),
        writers: &[Role::Gateway, Role::Auth],
        readers: &[Role::Auth],
        ..ROW
    },
    TopicRow {
        topic: Topic::Revocations,
        name: "revocations",
        key: "kind:id",
        schema: auth::Revocation::ID,
        partitions_embedded: 1,
        partitions_kafka: 1,
        cleanup: Cleanup::Compact { delete_retention: DurationMs::from_days(7) },
        writers: &[Role::Auth],
        readers: &[Role::Gateway],
        ..ROW
    },
    TopicRow {
        topic: Topic::Audit,
        name: "audit",
        key: "subject id, else request id",
        schema: message::Audit::ID,
        partitions_kafka: 16,
        cleanup: keep(DurationMs::from_days(90)),
        public: true,
        writers: &[Role::Gateway, Role::Matcher, Role::Merger, Role::Auth, Role::Notify],
        readers: &[Role::Gateway, Role::Downstream],
        ..ROW
    },
    TopicRow {
        topic: Topic::Notifications,
        name: "notifications",
        key: "user id",
        schema: action::Notice::ID,
        partitions_kafka: 8,
        cleanup: keep(DurationMs::from_days(1)),
        writers: &[Role::Auth],
        readers: &[Role::Notify],
        ..ROW
    },
    TopicRow {
        topic: Topic::DeadLetters,
        name: "dead-letters",
        key: "the original key",
        schema: message::DeadLetter::ID,
        partitions_kafka: 8,
        cleanup: keep(DurationMs::from_days(30)),
        record_bytes_max: DEAD_LETTER_BYTES_MAX,
        writers: &[Role::Matcher, Role::Merger, Role::Auth, Role::Notify],
        readers: &[Role::Operator],
        ..ROW
    },
];

impl Topic {
    /// Every topic.
    pub const ALL: &'static [Self] = &[
        Self::Scans,
        Self::Gallery,
        Self::Probes,
        Self::Partials,
        Self::Decisions,
        Self::AuthCommands,
        Self::Revocations,
        Self::Audit,
        Self::Notifications,
        Self::DeadLetters,
    ];

    /// Its row of the table.
    #[must_use]
    pub fn row(self) -> &'static TopicRow {
        // A test walks all topics, so the fallback is never taken.
        TABLE.iter().find(|row| row.topic == self).unwrap_or(&ROW)
    }

    /// The name under a deployment's prefix (empty for none).
    #[must_use]
    pub fn name(self, prefix: &str) -> TopicName {
        TopicName::new(&format!("{prefix}{}", self.row().name))
    }

    /// What to make the topic with.
    #[must_use]
    pub fn spec(self, prefix: &str, topology: Topology) -> TopicSpec {
        let row = self.row();
        let partitions = match topology {
            Topology::Embedded => row.partitions_embedded,
            Topology::Kafka => row.partitions_kafka,
        };
        TopicSpec { name: self.name(prefix), partitions, cleanup: row.cleanup, record_bytes_max: row.record_bytes_max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_has_its_own_row_and_a_schema_of_its_number() {
        for topic in Topic::ALL {
            let row = topic.row();
            assert_eq!(row.topic, *topic);
            assert!(!row.writers.is_empty() && !row.readers.is_empty(), "{}", row.name);
            assert!(crate::schema_of(row.schema).is_some(), "{}", row.name);
            assert_eq!(row.schema.0 % 1_000, 1);
        }
        assert_eq!(TABLE.len(), Topic::ALL.len());
    }

    #[test]
    fn partition_counts_are_the_ones_decided_for_ever() {
        let counts: Vec<_> =
            TABLE.iter().map(|row| (row.name, row.partitions_kafka, row.partitions_embedded)).collect();
        assert_eq!(
            counts,
            [
                ("scans", 48, 8),
                ("gallery", 64, 8),
                ("probes", 8, 8),
                ("partials", 32, 8),
                ("decisions", 32, 8),
                ("auth.commands", 32, 8),
                ("revocations", 1, 1),
                ("audit", 16, 8),
                ("notifications", 8, 8),
                ("dead-letters", 8, 8)
            ]
        );
    }
}
