//! Commands for emergencies and investigations.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use ridgeline_domain::ActionStatus;
use ridgeline_vault::evidence::check_evidence;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::args::{DevicesArgs, DevicesCommand, EvidenceArgs, EvidenceCommand, RevokeArgs};
use crate::config::Settings;
use crate::operator::Operator;
use crate::{keys, output};

/// No evidence or key set is larger.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// `devices …`
///
/// # Errors
/// What the service refuses.
pub(crate) async fn devices(settings: &Settings, args: DevicesArgs) -> anyhow::Result<ExitCode> {
    let operator = Operator::new(settings, &args.admin)?;
    let DevicesCommand::List { user, removed } = args.command;
    let body = json!({ "user": user, "removed": removed });
    let answer = operator.call("POST", "admin/devices", Some(&body)).await?;
    output::json(&answer)?;
    Ok(ExitCode::SUCCESS)
}

/// `revoke`
///
/// # Errors
/// A time that is none, and what the service refuses.
pub(crate) async fn revoke(settings: &Settings, args: RevokeArgs) -> anyhow::Result<ExitCode> {
    let operator = Operator::new(settings, &args.admin)?;
    let mut body = match (&args.user, args.device, args.family) {
        (Some(user), _, _) => json!({ "kind": "user", "id": user }),
        (_, Some(device), _) => json!({ "kind": "device", "id": device.to_string() }),
        (_, _, Some(family)) => json!({ "kind": "family", "id": family.to_string() }),
        _ => json!({ "kind": "all", "id": "" }),
    };
    if let Some(before) = args.all_before.as_deref().filter(|before| *before != "now") {
        body["before"] = json!(millis(before)?);
    }
    let answer = operator.call("POST", "admin/revocations", Some(&body)).await?;
    output::json(&answer)?;
    Ok(ExitCode::SUCCESS)
}

/// A time in milliseconds since the epoch.
fn millis(text: &str) -> anyhow::Result<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339);
    let time = time.with_context(|| format!("{text:?} is no time as in 2026-01-31T08:00:00Z, nor `now`"))?;
    Ok(i64::try_from(time.unix_timestamp_nanos() / 1_000_000)?)
}

/// `evidence …`. Exit code 1 if a file does not prove an approval.
///
/// # Errors
/// Files that cannot be read or written, and what the service refuses.
pub(crate) async fn evidence(settings: &Settings, args: EvidenceArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        EvidenceCommand::Export { id, out, admin } => {
            let operator = Operator::new(settings, &admin)?;
            let body = json!({ "confirmation_id": id.to_string() });
            let answer = operator.call("POST", "admin/evidence", Some(&body)).await?;
            let Some(evidence) = answer.get("evidence").and_then(Value::as_str) else {
                bail!("the service's answer holds no evidence");
            };
            match out {
                // It says who approved what.
                Some(path) => {
                    keys::replace(&path, &format!("{evidence}\n"), 0o600)?;
                    // The service forgets its keys; who checks the file in a year needs them.
                    let mut beside = path.clone().into_os_string();
                    beside.push(".jwks.json");
                    let jwks = answer.get("jwks").and_then(Value::as_str).unwrap_or_default();
                    keys::replace(Path::new(&beside), &format!("{jwks}\n"), 0o600)?;
                }
                None => output::line(evidence),
            }
            Ok(ExitCode::SUCCESS)
        }
        EvidenceCommand::Verify { file, jwks } => match check_evidence(&read(&file)?, &read(&jwks)?) {
            Ok(proven) => {
                let payload: Value = serde_json::from_str(&proven.payload).context("the payload")?;
                output::json(&json!({
                    "confirmation_id": proven.action, "action_type": proven.action_type, "payload": payload,
                    "status": proven.status.as_str(), "approvers": proven.approvers, "intact": true,
                }))?;
                let is_approved = proven.status == ActionStatus::Approved;
                Ok(if is_approved { ExitCode::SUCCESS } else { ExitCode::from(1) })
            }
            Err(error) => {
                output::problem(&format!("{}: {error}", file.display()));
                Ok(ExitCode::from(1))
            }
        },
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let mut text = String::new();
    let length = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    let length = length.with_context(|| path.display().to_string())?;
    if length as u64 > FILE_BYTES_MAX {
        bail!("{} has more than {FILE_BYTES_MAX} bytes", path.display());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_any_zone_and_refused_by_name() {
        assert_eq!(millis("1970-01-01T00:00:01.5Z").unwrap(), 1_500);
        assert_eq!(millis("1970-01-01T07:00:00+07:00").unwrap(), 0);
        for wrong in ["", "yesterday", "2026-01-31", "2026-13-01T00:00:00Z"] {
            assert!(millis(wrong).unwrap_err().to_string().contains("is no time"), "{wrong}");
        }
    }
}
