//! Administration: what a cluster should have, what it has, and making the difference.

mod apply;
mod migrate;
mod rules;

use std::fmt;

use rdkafka::admin::ConfigResource;
use ridgeline_ports::{GroupId, LogError, TopicName, TopicSpec};

pub use self::migrate::{Migrated, Progress};
pub(crate) use self::rules::Granted;
pub use self::rules::{Operation, Resource, Rule};
use crate::client::Kafka;
use crate::error::KafkaError;
use crate::topics::{Layout, settings, text};
use crate::wire::Broker;

/// A topic as it should be.
#[derive(Debug, Clone)]
pub struct Desired {
    /// Name, partitions, clean-up, largest record.
    pub spec: TopicSpec,
    /// Principals that write it, for instance `User:matcher`.
    pub writers: Vec<String>,
    /// Principals that read it.
    pub readers: Vec<Reader>,
    /// Principals that only look whether it is as it should be: every role does so for all topics when it starts.
    pub watchers: Vec<String>,
}

/// Who reads a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// For instance `User:gateway`.
    pub principal: String,
    /// The group it reads in; `None` for tails.
    pub group: Option<GroupId>,
}

/// One difference between the wanted topics and the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The topic is missing and will be made.
    Create {
        /// What it is made with.
        spec: TopicSpec,
        /// Copies of each partition.
        replication: u16,
    },
    /// A setting differs and will be set.
    SetConfig {
        /// Which topic.
        topic: TopicName,
        /// Name of the setting.
        name: &'static str,
        /// What the cluster has.
        from: Option<String>,
        /// What it will have.
        to: String,
    },
    /// Another number of partitions. Never changed: keys would move. `topics migrate` fills a new topic.
    RefusePartitions {
        /// Which topic.
        topic: TopicName,
        /// What the cluster has.
        have: u32,
        /// What is wanted.
        want: u32,
    },
    /// Another kind of clean-up. Never changed: compaction would drop records that are still to be read, deletion subjects.
    RefuseCleanup {
        /// Which topic.
        topic: TopicName,
        /// What the cluster has.
        have: String,
        /// What is wanted.
        want: String,
    },
    /// Another number of copies. To be changed with `kafka-reassign-partitions`, which says where the copies go.
    ReplicationDiffers {
        /// Which topic.
        topic: TopicName,
        /// The fewest copies that a partition has.
        have: u16,
        /// What is wanted.
        want: u16,
    },
    /// A rule is missing and will be made.
    Allow(Rule),
    /// A rule of the cluster forbids what is wanted, and is stronger than any that allows it. Left to whoever made it.
    Forbidden(Rule),
    /// The cluster checks no access rules, so none can be made.
    NoAuthorizer,
}

impl Change {
    /// Whether `apply` makes it.
    #[must_use]
    pub const fn is_applied(&self) -> bool {
        match self {
            Self::Create { .. } | Self::SetConfig { .. } | Self::Allow(_) => true,
            Self::RefusePartitions { .. }
            | Self::RefuseCleanup { .. }
            | Self::ReplicationDiffers { .. }
            | Self::Forbidden(_)
            | Self::NoAuthorizer => false,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { spec, replication } => {
                write!(f, "create {} with {} partitions of {replication} copies", spec.name, spec.partitions)
            }
            Self::SetConfig { topic, name, from, to } => {
                let from = from.as_deref().unwrap_or("nothing");
                write!(f, "set {topic} {name} from {from} to {to}")
            }
            Self::RefusePartitions { topic, have, want } => {
                write!(
                    f,
                    "refuse {topic}: it has {have} partitions and not {want}; fill a new topic with `topics migrate`"
                )
            }
            Self::RefuseCleanup { topic, have, want } => {
                write!(
                    f,
                    "refuse {topic}: its clean-up is {have} and not {want}; fill a new topic with `topics migrate`"
                )
            }
            Self::ReplicationDiffers { topic, have, want } => {
                write!(f, "differs {topic}: {have} copies and not {want}; use kafka-reassign-partitions")
            }
            Self::Allow(rule) => write!(f, "allow {rule}"),
            Self::Forbidden(rule) => {
                write!(f, "refuse {rule}: a rule of the cluster denies it; `kafka-acls --remove` takes it away")
            }
            Self::NoAuthorizer => f.write_str(
                "differs: principals are named, but the cluster checks no access rules (it has no authorizer)",
            ),
        }
    }
}

/// What would be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Differences, in the order of the wanted topics.
    pub changes: Vec<Change>,
    /// Who may read or write one of the topics though the table does not name them, in words. Left as it is: an operator's own rule
    /// may be among them. `kafka-acls --remove` takes one away.
    pub strangers: Vec<String>,
}

/// What a topic really has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicFacts {
    /// Which topic.
    pub topic: TopicName,
    /// Number of partitions.
    pub partitions: u32,
    /// The fewest copies that a partition has.
    pub replication: u16,
    /// Copies that must have a record before it is acknowledged.
    pub min_insync: u16,
}

impl Kafka {
    /// Compares the wanted topics, and what their writers and readers may do, with the cluster. Access rules are looked at only where
    /// principals are named. Replication and `min.insync.replicas` are those of the configuration.
    ///
    /// # Errors
    /// When the brokers cannot be asked.
    pub async fn plan(&self, desired: &[Desired]) -> Result<Plan, KafkaError> {
        let config = &self.shared().config;
        let mut plan = Plan::default();
        for Desired { spec, .. } in desired {
            match self.shared().topics.layout(&spec.name).await {
                Ok(layout) => {
                    let resource =
                        self.shared().topics.describe(&spec.name).await.map_err(cannot("read the settings"))?;
                    plan.changes.extend(differences(spec, layout, &resource, config.replication, config.min_insync));
                }
                Err(LogError::UnknownTopic(_)) => {
                    plan.changes.push(Change::Create { spec: spec.clone(), replication: config.replication });
                }
                Err(source) => return Err(cannot("read the metadata")(source)),
            }
        }
        let wanted = rules::wanted(&config.client_id, desired);
        if !wanted.is_empty() {
            let mut broker = Broker::connect(config).await.map_err(cannot("read the access rules"))?;
            match broker.granted().await.map_err(cannot("read the access rules"))? {
                None => plan.changes.push(Change::NoAuthorizer),
                Some(granted) => {
                    plan.changes.extend(rules::missing(&wanted, &granted).into_iter().map(Change::Allow));
                    plan.changes.extend(rules::forbidden(&wanted, &granted).into_iter().map(Change::Forbidden));
                    plan.strangers = rules::strangers(&wanted, &granted);
                }
            }
        }
        Ok(plan)
    }

    /// What the cluster really has of these topics; those that do not exist are left out.
    ///
    /// # Errors
    /// When the brokers cannot be asked.
    pub async fn facts(&self, topics: &[TopicName]) -> Result<Vec<TopicFacts>, KafkaError> {
        let mut facts = Vec::with_capacity(topics.len());
        for topic in topics {
            let layout = match self.shared().topics.layout(topic).await {
                Ok(layout) => layout,
                Err(LogError::UnknownTopic(_)) => continue,
                Err(source) => return Err(cannot("read the metadata")(source)),
            };
            let resource = self.shared().topics.describe(topic).await.map_err(cannot("read the settings"))?;
            let min_insync = text(&resource, "min.insync.replicas").and_then(|value| value.parse().ok()).unwrap_or(0);
            let Layout { partitions, replication } = layout;
            facts.push(TopicFacts { topic: topic.clone(), partitions, replication, min_insync });
        }
        Ok(facts)
    }
}

fn cannot(what: &'static str) -> impl FnOnce(LogError) -> KafkaError {
    move |source| KafkaError::Log { what, source }
}

fn differences(
    spec: &TopicSpec,
    layout: Layout,
    has: &ConfigResource,
    replication: u16,
    min_insync: u16,
) -> Vec<Change> {
    let topic = &spec.name;
    let mut changes = Vec::new();
    if layout.partitions != spec.partitions {
        let (have, want) = (layout.partitions, spec.partitions);
        changes.push(Change::RefusePartitions { topic: topic.clone(), have, want });
    }
    if layout.replication != replication {
        let (have, want) = (layout.replication, replication);
        changes.push(Change::ReplicationDiffers { topic: topic.clone(), have, want });
    }
    for (name, to) in settings(spec, min_insync) {
        let from = text(has, name);
        if from.as_deref() == Some(to.as_str()) {
            continue;
        }
        let topic = topic.clone();
        changes.push(match name {
            "cleanup.policy" => Change::RefuseCleanup { topic, have: from.unwrap_or_default(), want: to },
            name => Change::SetConfig { topic, name, from, to },
        });
    }
    changes
}

#[cfg(test)]
mod tests {
    use rdkafka::admin::{ConfigEntry, ConfigSource, OwnedResourceSpecifier};
    use ridgeline_domain::DurationMs;
    use ridgeline_ports::Cleanup;

    use super::*;

    fn spec() -> TopicSpec {
        let cleanup = Cleanup::Delete { retention: DurationMs::from_days(7) };
        TopicSpec { name: TopicName::new("scans"), partitions: 48, cleanup, record_bytes_max: 1_000 }
    }

    fn has(settings: &[(&str, String)]) -> ConfigResource {
        let entry = |(name, value): &(&str, String)| ConfigEntry {
            name: (*name).to_owned(),
            value: Some(value.clone()),
            source: ConfigSource::DynamicTopic,
            is_read_only: false,
            is_default: false,
            is_sensitive: false,
        };
        let entries = settings.iter().map(entry).collect();
        ConfigResource { specifier: OwnedResourceSpecifier::Topic("scans".into()), entries }
    }

    #[test]
    fn a_topic_as_it_should_be_has_no_differences() {
        let (spec, layout) = (spec(), Layout { partitions: 48, replication: 3 });
        assert_eq!(differences(&spec, layout, &has(&settings(&spec, 2)), 3, 2), []);
    }

    #[test]
    fn settings_are_set_and_what_moves_keys_or_drops_records_is_refused() {
        let (spec, layout) = (spec(), Layout { partitions: 12, replication: 1 });
        let mut real = settings(&spec, 1);
        for (name, value) in &mut real {
            match *name {
                "cleanup.policy" => *value = "compact".into(),
                "retention.ms" => *value = "1".into(),
                _ => {}
            }
        }
        let changes = differences(&spec, layout, &has(&real), 3, 2);
        let topic = spec.name.clone();
        let set = |name, from: &str, to: &str| {
            let (from, to) = (Some(from.to_owned()), to.to_owned());
            Change::SetConfig { topic: topic.clone(), name, from, to }
        };
        assert_eq!(
            changes,
            [
                Change::RefusePartitions { topic: topic.clone(), have: 12, want: 48 },
                Change::ReplicationDiffers { topic: topic.clone(), have: 1, want: 3 },
                set("min.insync.replicas", "1", "2"),
                Change::RefuseCleanup { topic: topic.clone(), have: "compact".into(), want: "delete".into() },
                set("retention.ms", "1", "604800000"),
            ]
        );
        assert_eq!(changes.iter().filter(|change| change.is_applied()).count(), 2);
    }
}
