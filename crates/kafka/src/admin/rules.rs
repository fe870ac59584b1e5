//! Access rules: who may do what, and which rules a cluster lacks.

use std::collections::BTreeSet;
use std::fmt;

use super::Desired;

/// What a rule is about, by its full name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// A topic.
    Topic(String),
    /// A consumer group.
    Group(String),
}

impl Resource {
    pub(crate) const fn is_topic(&self) -> bool {
        matches!(self, Self::Topic(_))
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Topic(name) | Self::Group(name) => name,
        }
    }
}

/// What may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Read records, or read in a group.
    Read,
    /// Append records; idempotent writes come with it.
    Write,
    /// See partitions and offsets.
    Describe,
    /// Read settings: the size limit of a topic is one.
    DescribeConfigs,
}

/// The code of "everything".
const ALL: i8 = 2;

impl Operation {
    /// As it stands in requests.
    pub(crate) const fn code(self) -> i8 {
        match self {
            Self::Read => 3,
            Self::Write => 4,
            Self::Describe => 8,
            Self::DescribeConfigs => 10,
        }
    }
}

/// A principal may do something with a resource, from any host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// About what.
    pub resource: Resource,
    /// For instance `User:matcher`.
    pub principal: String,
    /// What may be done.
    pub operation: Operation,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resource, principal, operation } = self;
        let kind = if resource.is_topic() { "topic" } else { "group" };
        write!(f, "{principal} to {operation:?} {kind} {}", resource.name())
    }
}

/// A rule that a cluster has.
#[derive(Debug, Clone)]
pub(crate) struct Granted {
    pub(crate) is_topic: bool,
    pub(crate) name: String,
    pub(crate) is_prefix: bool,
    pub(crate) principal: String,
    pub(crate) host: String,
    pub(crate) operation: i8,
    pub(crate) is_allowed: bool,
}

impl Granted {
    fn is_about(&self, resource: &Resource) -> bool {
        let name = resource.name();
        let named = if self.is_prefix { name.starts_with(&self.name) } else { self.name == name || self.name == "*" };
        self.is_topic == resource.is_topic() && named
    }

    fn concerns(&self, rule: &Rule) -> bool {
        let anybody = self.principal == "User:*";
        (anybody || self.principal == rule.principal)
            && (self.operation == ALL || self.operation == rule.operation.code())
            && self.is_about(&rule.resource)
    }

    /// From everywhere: a rule for one host is not enough.
    fn allows(&self, rule: &Rule) -> bool {
        self.is_allowed && self.host == "*" && self.concerns(rule)
    }

    /// From somewhere.
    fn denies(&self, rule: &Rule) -> bool {
        !self.is_allowed && self.concerns(rule)
    }
}

/// What writers and readers need, and no more. Nothing where no principals are named.
pub(super) fn wanted(client_id: &str, desired: &[Desired]) -> BTreeSet<Rule> {
    let mut rules = BTreeSet::new();
    let mut allow = |resource: &Resource, principal: &str, operations: &[Operation]| {
        rules.extend(operations.iter().map(|operation| Rule {
            resource: resource.clone(),
            principal: principal.to_owned(),
            operation: *operation,
        }));
    };
    for Desired { spec, writers, readers, watchers } in desired {
        let topic = Resource::Topic(spec.name.as_str().to_owned());
        for watcher in watchers {
            allow(&topic, watcher, &[Operation::Describe, Operation::DescribeConfigs]);
        }
        for writer in writers {
            allow(&topic, writer, &[Operation::Write, Operation::Describe, Operation::DescribeConfigs]);
        }
        for reader in readers {
            allow(&topic, &reader.principal, &[Operation::Read, Operation::Describe, Operation::DescribeConfigs]);
            let group = reader.group.as_ref().map_or_else(|| format!("{client_id}.tail"), |group| group.0.clone());
            allow(&Resource::Group(group), &reader.principal, &[Operation::Read]);
        }
    }
    rules
}

/// The rules that are missing.
pub(super) fn missing(wanted: &BTreeSet<Rule>, granted: &[Granted]) -> Vec<Rule> {
    wanted.iter().filter(|rule| !granted.iter().any(|granted| granted.allows(rule))).cloned().collect()
}

/// The rules that another one denies.
pub(super) fn forbidden(wanted: &BTreeSet<Rule>, granted: &[Granted]) -> Vec<Rule> {
    wanted.iter().filter(|rule| granted.iter().any(|granted| granted.denies(rule))).cloned().collect()
}

/// Who may read or write one of these topics though the table does not say so, in words.
pub(super) fn strangers(wanted: &BTreeSet<Rule>, granted: &[Granted]) -> Vec<String> {
    let topics: BTreeSet<_> =
        wanted.iter().filter(|rule| rule.resource.is_topic()).map(|rule| &rule.resource).collect();
    let mut found = BTreeSet::new();
    for topic in topics {
        for granted in granted.iter().filter(|granted| granted.is_allowed && granted.is_about(topic)) {
            for operation in [Operation::Read, Operation::Write] {
                let own = wanted.iter().any(|rule| {
                    rule.resource == *topic && rule.principal == granted.principal && rule.operation == operation
                });
                if !own && [ALL, operation.code()].contains(&granted.operation) {
                    found.insert(format!("{} may {operation:?} topic {}", granted.principal, topic.name()));
                }
            }
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use ridgeline_domain::DurationMs;
    use ridgeline_ports::{Cleanup, GroupId, TopicName, TopicSpec};

    use super::*;
    use crate::admin::Reader;

    fn desired() -> Desired {
        let cleanup = Cleanup::Delete { retention: DurationMs::from_days(7) };
        let spec = TopicSpec { name: TopicName::new("scans"), partitions: 1, cleanup, record_bytes_max: 1 };
        let reader = |principal: &str, group: Option<&str>| Reader {
            principal: principal.into(),
            group: group.map(|group| GroupId(group.into())),
        };
        Desired {
            spec,
            writers: vec!["User:CN=agent".into()],
            readers: vec![reader("User:matcher", Some("matcher")), reader("User:gateway", None)],
            watchers: vec!["User:merger".into(), "User:matcher".into()],
        }
    }

    fn granted(name: &str, principal: &str, operation: i8) -> Granted {
        Granted {
            is_topic: true,
            name: name.into(),
            is_prefix: false,
            principal: principal.into(),
            host: "*".into(),
            operation,
            is_allowed: true,
        }
    }

    #[test]
    fn each_principal_gets_what_it_needs_and_no_more() {
        let rules: Vec<_> = wanted("ridgeline", &[desired()]).iter().map(ToString::to_string).collect();
        assert_eq!(
            rules,
            [
                "User:CN=agent to Write topic scans",
                "User:CN=agent to Describe topic scans",
                "User:CN=agent to DescribeConfigs topic scans",
                "User:gateway to Read topic scans",
                "User:gateway to Describe topic scans",
                "User:gateway to DescribeConfigs topic scans",
                "User:matcher to Read topic scans",
                "User:matcher to Describe topic scans",
                "User:matcher to DescribeConfigs topic scans",
                "User:merger to Describe topic scans",
                "User:merger to DescribeConfigs topic scans",
                "User:matcher to Read group matcher",
                "User:gateway to Read group ridgeline.tail",
            ]
        );
    }

    #[test]
    fn wider_rules_are_enough_and_narrower_ones_are_not() {
        let wanted = wanted("ridgeline", &[desired()]);
        let count = wanted.len();
        let missing = |granted: Granted| missing(&wanted, &[granted]).len();
        let writes = Operation::Write.code();
        assert_eq!(missing(granted("scans", "User:CN=agent", writes)), count - 1);
        assert_eq!(missing(granted("scans", "User:CN=agent", ALL)), count - 3);
        assert_eq!(missing(granted("*", "User:*", ALL)), count - 11);
        assert_eq!(missing(Granted { is_prefix: true, ..granted("sc", "User:CN=agent", writes) }), count - 1);
        assert_eq!(missing(Granted { is_prefix: true, ..granted("sd", "User:CN=agent", writes) }), count);
        assert_eq!(missing(Granted { is_allowed: false, ..granted("scans", "User:CN=agent", writes) }), count);
        assert_eq!(missing(Granted { host: "10.0.0.1".into(), ..granted("scans", "User:CN=agent", writes) }), count);
        assert_eq!(missing(Granted { is_topic: false, ..granted("scans", "User:CN=agent", writes) }), count);
    }

    #[test]
    fn what_another_rule_denies_is_named() {
        let wanted = wanted("ridgeline", &[desired()]);
        let denies =
            |principal: &str, operation| Granted { is_allowed: false, ..granted("scans", principal, operation) };
        let forbidden =
            |granted: Granted| forbidden(&wanted, &[granted]).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(forbidden(denies("User:matcher", Operation::Read.code())), ["User:matcher to Read topic scans"]);
        assert_eq!(forbidden(denies("User:*", Operation::Write.code())), ["User:CN=agent to Write topic scans"]);
        let elsewhere = Granted { host: "10.0.0.1".into(), ..denies("User:CN=agent", ALL) };
        assert_eq!(forbidden(elsewhere).len(), 3);
        assert!(forbidden(granted("scans", "User:matcher", ALL)).is_empty());
    }

    #[test]
    fn who_may_more_than_the_table_says_is_named() {
        let wanted = wanted("ridgeline", &[desired()]);
        let own = granted("scans", "User:CN=agent", Operation::Write.code());
        let described = granted("scans", "User:monitor", Operation::Describe.code());
        let reads = granted("*", "User:audit", Operation::Read.code());
        let both = granted("scans", "User:matcher", ALL);
        assert_eq!(
            strangers(&wanted, &[own, described, reads, both]),
            ["User:audit may Read topic scans", "User:matcher may Write topic scans"]
        );
    }
}
