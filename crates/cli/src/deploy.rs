//! What makes a cluster ready for this version.

use std::process::ExitCode;

use anyhow::Context as _;
use ridgeline_cql::migration;
use ridgeline_kafka::{Desired, Kafka, Plan, Reader};
use ridgeline_ports::{GroupId, TopicName};
use ridgeline_runtime::SystemEntropy;
use ridgeline_wire::{self as wire, Topic, Topology};

use crate::args::{MigrateArgs, TopicsArgs, TopicsCommand};
use crate::config::Settings;
use crate::{connect, output, telemetry, work};

/// `topics …`. Exit code 1 where the cluster differs (`plan`) or keeps differing (`apply`).
///
/// # Errors
/// A cluster that cannot be reached or refuses, or a principal that cannot be read.
pub(crate) async fn topics(settings: &Settings, args: TopicsArgs) -> anyhow::Result<ExitCode> {
    telemetry::log(settings, "warn")?;
    let named = settings.kafka.as_ref();
    let named = named.context("no Kafka is named: give --kafka HOST:PORT, or [kafka] brokers in --config")?;
    let kafka = connect::kafka(named)?;
    let done = match args.command {
        TopicsCommand::Plan(acl) => plan(&kafka, &desired(&named.prefix, &acl.principal)?).await,
        TopicsCommand::Apply(acl) => apply(&kafka, &desired(&named.prefix, &acl.principal)?).await,
        TopicsCommand::Migrate { from, to, partitions } => copy(&kafka, &from, &to, partitions).await,
    };
    kafka.shutdown().await;
    done
}

async fn plan(kafka: &Kafka, desired: &[Desired]) -> anyhow::Result<ExitCode> {
    let plan = kafka.plan(desired).await?;
    for change in &plan.changes {
        output::line(&change.to_string());
    }
    strangers(&plan);
    if plan.changes.is_empty() {
        output::line(&format!("{} topics are as they should be", desired.len()));
        return Ok(ExitCode::SUCCESS);
    }
    if plan.changes.iter().any(ridgeline_kafka::Change::is_applied) {
        output::line("run `ridgeline topics apply` to make what can be made");
    }
    Ok(ExitCode::from(1))
}

async fn apply(kafka: &Kafka, desired: &[Desired]) -> anyhow::Result<ExitCode> {
    let plan = kafka.plan(desired).await?;
    let left = kafka.apply(&plan).await?;
    for change in plan.changes.iter().filter(|change| change.is_applied()) {
        output::line(&format!("done: {change}"));
    }
    for change in &left {
        output::line(&change.to_string());
    }
    strangers(&plan);
    output::line(&match left.len() {
        0 => format!("{} topics are as they should be", desired.len()),
        count => format!("{count} differences are left"),
    });
    Ok(if left.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Who may more than the table says.
fn strangers(plan: &Plan) {
    if !plan.strangers.is_empty() {
        output::line("not in the table, and left as it is:");
    }
    for stranger in &plan.strangers {
        output::line(&format!("  {stranger}"));
    }
}

async fn copy(kafka: &Kafka, from: &str, to: &str, partitions: u32) -> anyhow::Result<ExitCode> {
    let bar = work::bar(0, "copying");
    let progress = &mut |progress: ridgeline_kafka::Progress| {
        bar.set_length(progress.copied + progress.left);
        bar.set_position(progress.copied);
    };
    let done = kafka.migrate(&TopicName::new(from), &TopicName::new(to), partitions, progress).await?;
    bar.finish_and_clear();
    let went_on = if done.resumed { ", going on where an earlier call ended" } else { "" };
    output::line(&format!("{} records of {from} copied to {to}{went_on}", done.copied));
    Ok(ExitCode::SUCCESS)
}

/// The topic table, with who may write and read where principals of roles are named.
fn desired(prefix: &str, principals: &[String]) -> anyhow::Result<Vec<Desired>> {
    let mut named = Vec::new();
    for text in principals {
        let (role, principal) = text.split_once('=').with_context(|| format!("--principal {text}: ROLE=PRINCIPAL"))?;
        let known = ROLES.iter().find(|(name, _)| *name == role);
        let (_, role) = known.with_context(|| {
            let names: Vec<_> = ROLES.iter().map(|(name, _)| *name).collect();
            format!("--principal {text}: the role must be one of {}", names.join(", "))
        })?;
        named.push((*role, principal.to_owned()));
    }
    let of = |role: wire::Role| named.iter().filter(move |(named, _)| *named == role).map(|(_, who)| who.clone());
    let topic = |topic: &Topic| {
        let row = topic.row();
        let reader = |role: wire::Role| {
            let group = group(*topic, role).map(|name| GroupId(format!("{prefix}{name}")));
            of(role).map(move |principal| Reader { principal, group: group.clone() })
        };
        Desired {
            spec: topic.spec(prefix, Topology::Kafka),
            writers: row.writers.iter().flat_map(|role| of(*role)).collect(),
            readers: row.readers.iter().flat_map(|role| reader(*role)).collect(),
            // What starts here looks at all topics first; agents and subscribers do not.
            watchers: named.iter().filter(|(role, _)| !is_outside(*role)).map(|(_, who)| who.clone()).collect(),
        }
    };
    Ok(Topic::ALL.iter().map(topic).collect())
}

/// Not one of the parts that start over Kafka and the store.
const fn is_outside(role: wire::Role) -> bool {
    matches!(role, wire::Role::Agent | wire::Role::Downstream)
}

/// The group in which a role shares a topic; others follow it without one.
const fn group(topic: Topic, role: wire::Role) -> Option<&'static str> {
    match (topic, role) {
        (Topic::Scans, wire::Role::Matcher) => Some("matcher"),
        (Topic::Gallery, wire::Role::Gallery) => Some("gallery"),
        (Topic::Partials, wire::Role::Merger) => Some("merger"),
        (Topic::AuthCommands, wire::Role::Auth) => Some("auth"),
        (Topic::Notifications, wire::Role::Notify) => Some("notify"),
        _ => None,
    }
}

const ROLES: &[(&str, wire::Role)] = &[
    ("agent", wire::Role::Agent),
    ("gateway", wire::Role::Gateway),
    ("matcher", wire::Role::Matcher),
    ("gallery", wire::Role::Gallery),
    ("merger", wire::Role::Merger),
    ("auth", wire::Role::Auth),
    ("notify", wire::Role::Notify),
    ("downstream", wire::Role::Downstream),
    ("operator", wire::Role::Operator),
];

/// `migrate`: says each step; with `--dry-run` does none.
///
/// # Errors
/// A store that cannot be reached, a migration that differs from the one applied, or a newer version's tables.
pub(crate) async fn migrate(settings: &Settings, args: &MigrateArgs) -> anyhow::Result<ExitCode> {
    telemetry::log(settings, "warn")?;
    let store = settings.cql.as_ref().context("no store is named: give --cql HOST:PORT, or [cql] hosts in --config")?;
    let config = connect::cql(store, true)?;
    let said = &mut |step: migration::Step| output::line(&step.to_string());
    let summary = migration::migrate(&config, &SystemEntropy, migration::ALL, args.dry_run, said).await?;
    output::line(&match (summary.statements, args.dry_run) {
        (0, _) => format!("keyspace {} is up to date", store.keyspace),
        (count, true) => format!("{count} statements would be applied; nothing was changed"),
        (count, false) => format!("{count} statements applied; keyspace {} is up to date", store.keyspace),
    });
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_are_laid_over_the_topic_table() {
        let principals = ["matcher=User:m", "gateway=User:g", "downstream=User:siem"].map(str::to_owned);
        let desired = desired("site.", &principals).unwrap();
        let of = |name: &str| desired.iter().find(|topic| topic.spec.name.as_str() == name).unwrap();
        let scans = of("site.scans");
        assert_eq!(scans.writers, ["User:g"]);
        let group = Some(GroupId("site.matcher".to_owned()));
        assert_eq!(scans.readers, [Reader { principal: "User:m".to_owned(), group }]);
        let readers: Vec<_> = of("site.audit").readers.iter().map(|reader| reader.principal.as_str()).collect();
        assert_eq!(readers, ["User:g", "User:siem"]);
        assert!(super::desired("", &[]).unwrap().iter().all(|topic| topic.writers.is_empty()));
        for wrong in ["User:m", "janitor=User:j"] {
            assert!(super::desired("", &[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
