//! Making a plan come true.

use std::collections::BTreeMap;

use rdkafka::admin::{AdminOptions, AlterConfig, ConfigSource, ResourceSpecifier};
use rdkafka::error::KafkaError as Cause;
use ridgeline_ports::{LogError, TopicName};

use super::{Change, Plan, cannot};
use crate::client::Kafka;
use crate::error::{KafkaError, at_topic};
use crate::topics::ANSWER_MAX;
use crate::wire::Broker;

impl Kafka {
    /// Makes missing topics, sets what differs and makes missing access rules. Returns the differences that are not made by this call (see
    /// [`Change::is_applied`]). May be called again after a failure.
    ///
    /// # Errors
    /// When a broker refuses or cannot be reached; what was done until then stays.
    pub async fn apply(&self, plan: &Plan) -> Result<Vec<Change>, KafkaError> {
        let mut sets: BTreeMap<&TopicName, Vec<(&str, &str)>> = BTreeMap::new();
        let (mut rules, mut left) = (Vec::new(), Vec::new());
        for change in &plan.changes {
            match change {
                Change::Create { spec, .. } => {
                    self.shared().topics.ensure(spec).await.map_err(cannot("make a topic"))?;
                }
                Change::SetConfig { topic, name, to, .. } => sets.entry(topic).or_default().push((*name, to.as_str())),
                Change::Allow(rule) => rules.push(rule.clone()),
                other => left.push(other.clone()),
            }
        }
        for (topic, settings) in sets {
            self.set(topic, &settings).await.map_err(cannot("change a topic's settings"))?;
            self.shared().topics.forget(topic);
        }
        if !rules.is_empty() {
            let mut broker = Broker::connect(&self.shared().config).await.map_err(cannot("make access rules"))?;
            broker.allow(&rules).await.map_err(cannot("make access rules"))?;
        }
        Ok(left)
    }

    /// The call replaces all settings of a topic, so those that stay are sent along.
    async fn set(&self, topic: &TopicName, settings: &[(&str, &str)]) -> Result<(), LogError> {
        let topics = &self.shared().topics;
        let has = topics.describe(topic).await?;
        let mut all: BTreeMap<&str, &str> = BTreeMap::new();
        for entry in has.entries.iter().filter(|entry| entry.source == ConfigSource::DynamicTopic) {
            if let Some(value) = &entry.value {
                all.insert(&entry.name, value);
            }
        }
        all.extend(settings.iter().copied());
        let mut request = AlterConfig::new(ResourceSpecifier::Topic(topic.as_str()));
        for (name, value) in all {
            request = request.set(name, value);
        }
        let admin = topics.admin()?;
        let options = AdminOptions::new().request_timeout(Some(ANSWER_MAX));
        let altered = admin.inner().alter_configs([&request], &options).await;
        drop(admin);
        let refused = |cause: &Cause| at_topic(topic, "the settings are refused", cause, &self.shared().status);
        for answer in altered.map_err(|cause| refused(&cause))? {
            answer.map_err(|(_, code)| refused(&Cause::AdminOp(code)))?;
        }
        Ok(())
    }
}
