//! Commands against a running service.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ridgeline_client::{
    Client, ClientOptions, Decision, IdempotencyKey, PublicStream, Sample, Scan, ScanOptions, SealedTemplate,
};
use ridgeline_domain::{Operation, Outcome, Sensitive};
use ridgeline_fingerprint::formats::{Record, RecordFamily};
use ridgeline_ports::Entropy as _;
use ridgeline_runtime::SystemEntropy;

use crate::args::{DeleteArgs, ExtractArgs, RemoteArgs, ScanArgs, TailArgs};
use crate::config::Settings;
use crate::{keys, output};

/// The service takes no larger body.
const FILE_BYTES_MAX: u64 = 10 << 20;

/// A client for the service that the options name.
///
/// # Errors
/// If there is no API key, or the address is none.
pub(crate) fn client(settings: &Settings, remote: &RemoteArgs) -> anyhow::Result<Client> {
    let key = match &remote.api_key {
        Some(key) => Sensitive::new(key.trim().to_owned()),
        None => keys::read_secret(&settings.data_dir.join(keys::name::API_KEY)).context(
            "no API key: give --api-key, set RIDGELINE_API_KEY, or name the service's directory with --data-dir",
        )?,
    };
    let url = remote.url.clone().unwrap_or_else(|| local_url(settings.listen));
    Ok(Client::new(ClientOptions::new(url, Some(key)))?)
}

/// Where this machine reaches a listener.
pub(crate) fn local_url(listen: SocketAddr) -> String {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    format!("http://{}", SocketAddr::new(ip, listen.port()))
}

/// A key under which one submission may be repeated.
pub(crate) fn idempotency_key() -> Option<IdempotencyKey> {
    IdempotencyKey::new(&SystemEntropy.request_id().to_string())
}

/// enrol, verify, identify. Exit code 0 if the answer is yes.
///
/// # Errors
/// Files that cannot be read, and everything the service refuses.
pub(crate) async fn scan(settings: &Settings, operation: Operation, args: ScanArgs) -> anyhow::Result<ExitCode> {
    if operation.needs_subject() && args.subject.is_none() {
        bail!("{operation} needs --subject");
    }
    let client = client(settings, &args.remote)?;
    let samples = args.files.iter().map(|file| sample(file, args.dpi)).collect::<Result<Vec<_>, _>>()?;
    let subject = args.subject.filter(|_| operation.needs_subject());
    let mut scan = Scan::new(operation, subject, samples);
    scan.position = args.position;
    scan.options = ScanOptions { strict_quality: args.strict, ..ScanOptions::default() };
    let decision = client.decide(&scan, idempotency_key().as_ref(), Duration::from_secs(args.wait)).await?;
    if args.json {
        output::json(&decision)?;
    } else {
        output::line(&sentence(&decision));
    }
    Ok(code(decision.outcome))
}

/// extract: writes the sealed template.
///
/// # Errors
/// As [`scan`]; also a file that cannot be written.
pub(crate) async fn extract(settings: &Settings, args: ExtractArgs) -> anyhow::Result<ExitCode> {
    let client = client(settings, &args.remote)?;
    let scan = Scan::new(Operation::Extract, None, vec![sample(&args.file, args.dpi)?]);
    let decision = client.decide(&scan, idempotency_key().as_ref(), Duration::from_secs(30)).await?;
    output::line(&sentence(&decision));
    if let Some(template) = &decision.template {
        keys::replace(&args.out, &format!("{}\n", template.as_base64()), 0o600)?;
    }
    Ok(code(decision.outcome))
}

/// delete: waits until the subject is forgotten.
///
/// # Errors
/// Everything the service refuses.
pub(crate) async fn delete(settings: &Settings, args: DeleteArgs) -> anyhow::Result<ExitCode> {
    let client = client(settings, &args.remote)?;
    let id = client.delete_subject(&args.subject).await?;
    let decision = client.await_decision(&id, Duration::from_secs(30)).await?;
    output::line(&sentence(&decision));
    Ok(code(decision.outcome))
}

/// Prints events until the service closes the stream, the count is reached, or a signal.
///
/// # Errors
/// If the service cannot be reached or refuses.
pub(crate) async fn tail(settings: &Settings, stream: PublicStream, args: TailArgs) -> anyhow::Result<ExitCode> {
    let client = client(settings, &args.remote)?;
    let mut events = client.tail(stream, args.from_beginning).await?;
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(event) = events.next().await? else {
            output::remark("the service has closed the stream");
            return Ok(ExitCode::from(1));
        };
        output::line(&event.data);
        left -= 1;
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads a file as a sample; its ending says what it is.
fn sample(path: &Path, dpi: Option<u16>) -> anyhow::Result<Sample> {
    let context = || format!("cannot read {}", path.display());
    let size = std::fs::metadata(path).with_context(context)?.len();
    if size > FILE_BYTES_MAX {
        bail!("{} is larger than {FILE_BYTES_MAX} bytes", path.display());
    }
    let bytes = Sensitive::new(std::fs::read(path).with_context(context)?);
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    let format = match ending.as_str() {
        "sealed" => {
            let text = std::str::from_utf8(bytes.expose()).context("a sealed template is base64 text")?;
            return Ok(Sample::sealed(&SealedTemplate::from_base64(text)));
        }
        "png" => "png",
        "jpg" | "jpeg" => "jpeg",
        "bmp" => "bmp",
        "tif" | "tiff" => "tiff",
        "pgm" => "pgm",
        "wsq" => "wsq",
        "fmr" | "iso" | "ansi" => {
            let record = Record::decode(bytes.expose(), None).with_context(context)?;
            let format = match record.format.family() {
                RecordFamily::Iso19794 => "iso19794-2",
                RecordFamily::Ansi378 => "ansi378",
            };
            return Ok(Sample::record(format, bytes.expose()));
        }
        other => {
            bail!(
                "{}: files end in png, jpg, bmp, tif, pgm, wsq, fmr, iso, ansi or sealed, not {other:?}",
                path.display()
            )
        }
    };
    Ok(Sample::image(format, bytes.expose(), dpi))
}

/// A decision in one line.
fn sentence(decision: &Decision) -> String {
    let mut text = decision.outcome.to_string();
    if let Some(subject) = &decision.subject_id {
        text.push_str(&format!(" {subject}"));
    }
    if let Some(reason) = &decision.reason {
        text.push_str(&format!(" ({reason})"));
    }
    if let Some(confidence) = decision.confidence {
        text.push_str(&format!(", confidence {confidence:.1}"));
    }
    if let Some(quality) = decision.quality.as_ref().filter(|quality| !quality.is_empty()) {
        let quality: Vec<String> = quality.iter().map(|value| format!("{value:.0}")).collect();
        text.push_str(&format!(", quality {}", quality.join("/")));
    }
    text.push_str(&format!(" [{}]", decision.confirmation_id));
    text
}

fn code(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::Enrolled | Outcome::Match | Outcome::Extracted | Outcome::Deleted | Outcome::Granted => {
            ExitCode::SUCCESS
        }
        Outcome::NoMatch | Outcome::Ambiguous | Outcome::Incomplete | Outcome::Rejected | Outcome::Failed => {
            ExitCode::from(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_reads_as_one_line() {
        let text = r#"{"confirmation_id":"0a","operation":"verify","outcome":"match","subject_id":"alice",
            "confidence":84.26,"quality":[71]}"#;
        let decision: Decision = serde_json::from_str(text).unwrap();
        assert_eq!(sentence(&decision), "match alice, confidence 84.3, quality 71 [0a]");
        let text = r#"{"confirmation_id":"0b","operation":"verify","outcome":"rejected","reason":"low_quality"}"#;
        assert_eq!(sentence(&serde_json::from_str(text).unwrap()), "rejected (low_quality) [0b]");
    }

    #[test]
    fn files_are_told_by_their_ending() {
        let dir = tempfile::tempdir().unwrap();
        for (name, good) in
            [("a.PNG", true), ("a.jpg", true), ("a.wsq", true), ("a.sealed", true), ("a.fmr", false), ("a", false)]
        {
            std::fs::write(dir.path().join(name), "QQ==").unwrap();
            assert_eq!(sample(&dir.path().join(name), None).is_ok(), good, "{name}");
        }
        assert!(sample(&dir.path().join("missing.png"), None).is_err());
    }

    #[test]
    fn a_listener_on_all_addresses_is_reached_by_loopback() {
        assert_eq!(local_url("0.0.0.0:8080".parse().unwrap()), "http://127.0.0.1:8080");
        assert_eq!(local_url("[::]:1".parse().unwrap()), "http://[::1]:1");
        assert_eq!(local_url("127.0.0.1:9".parse().unwrap()), "http://127.0.0.1:9");
    }
}
