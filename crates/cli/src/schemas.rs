//! `schemas check|register`, and the log of a deployment that has a registry.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use ridgeline_egress::{ConfiguredOptions, Login};
use ridgeline_ports::EventLog;
use ridgeline_registry::{Finding, Level, Registry, Standing, TranslatedLog, check, register};
use ridgeline_runtime::Health;

use crate::args::{SchemasArgs, SchemasCommand};
use crate::config::{self, RegistrySettings, Settings};
use crate::{keys, output, telemetry};

/// `schemas …`. Exit code 1 where the registry differs.
///
/// # Errors
/// A registry that is not named, cannot be reached or refuses.
pub(crate) async fn run(settings: &Settings, args: &SchemasArgs) -> anyhow::Result<ExitCode> {
    telemetry::log(settings, "warn")?;
    let named = settings.registry.as_ref();
    let named = named.context("no schema registry is named: give --registry URL, or [registry] url in --config")?;
    let registry = connect(named)?;
    let prefix = args.topic_prefix.as_deref().unwrap_or_else(|| settings.prefix());
    config::check_prefix("--topic-prefix", prefix)?;
    match args.command {
        SchemasCommand::Check => Ok(tell(&check(&registry, prefix).await?)),
        SchemasCommand::Register => {
            for (subject, id) in register(&registry, prefix).await? {
                output::line(&format!("{}: id {id}", subject.name));
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn tell(findings: &[Finding]) -> ExitCode {
    for finding in findings {
        output::line(&line(finding));
    }
    let differ = findings.iter().filter(|finding| !finding.is_good()).count();
    output::line(&match differ {
        0 => format!("{} schemas are registered as they should be", findings.len()),
        count => format!("{count} subjects differ; `ridgeline schemas register` registers this version's schemas"),
    });
    if differ == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn line(finding: &Finding) -> String {
    let standing = match finding.standing {
        Standing::Current(found) => format!("version {}, id {}", found.version, found.id),
        Standing::Older { ours, latest } => {
            format!("version {} (id {}) is this program's, version {latest} is newer", ours.version, ours.id)
        }
        Standing::Differs { latest, compatible: true } => format!("differs from version {latest}, may follow it"),
        Standing::Differs { latest, compatible: false } => format!("differs from version {latest}, not compatible"),
        Standing::Missing => "not registered".to_owned(),
    };
    let wanted = finding.subject.level();
    let level = match &finding.level {
        Some(level) if *level == wanted => String::new(),
        // The level of a subject that does not exist yet is set with it.
        _ if finding.standing == Standing::Missing => String::new(),
        level => {
            let level = level.as_ref().map_or("not set", Level::as_str);
            format!("; compatibility is {level} instead of {}", wanted.as_str())
        }
    };
    format!("{}: {standing}{level}", finding.subject.name)
}

/// A client of the registry; connects with its first call.
///
/// # Errors
/// A certificate or password file that cannot be read, or an address that is none.
pub(crate) fn connect(settings: &RegistrySettings) -> anyhow::Result<Registry> {
    let mut options = ConfiguredOptions::new(&settings.url);
    if let Some(file) = &settings.ca_file {
        let read = std::fs::read_to_string(file);
        options.authority = Some(read.with_context(|| format!("registry.ca_file {}", file.display()))?);
    }
    if let Some(login) = &settings.login {
        let password = keys::read_secret(&login.password_file).context("registry.password_file")?;
        options.login = Some(Login { username: login.username.clone(), password });
    }
    Registry::new(options).context("[registry]")
}

/// `log` with the registry's ids in front of values.
///
/// # Errors
/// A registry that cannot be reached, or lacks this version's schemas.
pub(crate) async fn translated(
    log: Arc<dyn EventLog>,
    registry: Registry,
    prefix: &str,
    health: &Health,
) -> anyhow::Result<Arc<dyn EventLog>> {
    Ok(Arc::new(TranslatedLog::open(log, registry, prefix, health).await?))
}

#[cfg(test)]
mod tests {
    use ridgeline_registry::{Registered, RegistryId, subjects};
    use ridgeline_wire::Topic;

    use super::*;

    #[test]
    fn each_finding_is_one_line_that_says_what_is_wrong() {
        let decisions = subjects("").into_iter().find(|subject| subject.topic == Topic::Decisions).unwrap();
        let ours = Registered { id: RegistryId(7), version: 1 };
        let said = |standing, level| line(&Finding { subject: decisions.clone(), standing, level });
        let good = Some(Level::BackwardTransitive);
        assert_eq!(said(Standing::Current(ours), good.clone()), "decisions-value: version 1, id 7");
        assert_eq!(said(Standing::Missing, None), "decisions-value: not registered");
        assert_eq!(
            said(Standing::Current(ours), Some(Level::None)),
            "decisions-value: version 1, id 7; compatibility is NONE instead of BACKWARD_TRANSITIVE"
        );
        assert!(said(Standing::Older { ours, latest: 2 }, good.clone()).contains("version 2 is newer"));
        assert!(said(Standing::Differs { latest: 1, compatible: false }, good.clone()).ends_with("not compatible"));
        assert!(said(Standing::Differs { latest: 1, compatible: true }, good).ends_with("may follow it"));
    }
}
