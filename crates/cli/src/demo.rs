//! `ridgeline demo`: the service, and a story that shows it at work.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use ridgeline_client::{AuthClient, Client, ClientOptions};
use ridgeline_ports::{Entropy as _, EventLog, TopicName};
use ridgeline_runtime::{SystemClock, SystemEntropy};
use ridgeline_vault::Vault;
use ridgeline_wire::Topic;
use tokio::time::Instant;

use crate::args::{DemoArgs, Story};
use crate::config::Settings;
use crate::node::Node;
use crate::operator::Operator;
use crate::serve::{StopSignal, until_stopped};
use crate::story::{Cast, PhoneReport, Report, Stage, tell, tell_phones, write_examples};
use crate::{keys, output, telemetry};

/// Starts the service, tells the story, prints the table, and stays up unless `--exit`.
///
/// # Errors
/// What keeps the service from starting, or a folder of images that cannot be used.
pub(crate) async fn run(mut settings: Settings, args: DemoArgs) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    telemetry::log(&settings, "warn")?;
    let mut signal = StopSignal::new()?;
    if args.story == Story::Auth {
        return phones(settings, args, signal).await;
    }
    let cast = match &args.scans {
        Some(folder) => Cast::of_folder(folder, args.dpi)?,
        None => Cast::Synthetic { fingers: args.fingers, seed: args.seed },
    };
    let synthetic = cast.is_synthetic();
    // Kept until the end of the demo, then removed.
    let _temporary = if args.exit { temporary(&mut settings, &args)? } else { None };
    let passing = if args.exit { apart(&mut settings, &args)? } else { None };
    let mut node = Node::start_all(&settings).await?;
    let (url, key) = reached(&node)?;
    let client = Client::new(ClientOptions::new(url, Some(keys::read_secret(key)?)))?;
    let (log, audit) = (node.log.clone(), Topic::Audit.name(settings.prefix()));
    let told = tokio::select! {
        told = story(client, log, &audit, cast, began) => told,
        error = node.broken() => Err(error),
        () = signal.received() => Err(anyhow::anyhow!("interrupted")),
    };
    let report = match told {
        Ok(report) => report,
        Err(error) => {
            match &passing {
                Some(prefix) => {
                    if let Err(kept) = node.stop_and_discard(prefix).await {
                        output::remark(&format!("the demo's topics and keyspace are still there: {kept:#}"));
                    }
                }
                None => node.stop().await,
            }
            return Err(error);
        }
    };
    if args.json {
        output::line(&serde_json::to_string(&report)?);
    } else {
        output::line(&report.text());
    }
    let misses = if synthetic { report.misses() } else { Vec::new() };
    for miss in &misses {
        output::remark(&format!("below the floor: {miss}"));
    }
    if args.exit {
        match &passing {
            Some(prefix) => node.stop_and_discard(prefix).await?,
            None => node.stop().await,
        }
        return Ok(if misses.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) });
    }
    stay(node, &settings, args.json, &mut signal).await
}

/// The story of device authentication. Exit code 1 unless every step ended as it should.
async fn phones(mut settings: Settings, args: DemoArgs, mut signal: StopSignal) -> anyhow::Result<ExitCode> {
    // Kept until the end of the demo, then removed.
    let _temporary = if args.exit { temporary(&mut settings, &args)? } else { None };
    let passing = if args.exit { apart(&mut settings, &args)? } else { None };
    let node = Node::start_all(&settings).await?;
    let told = tokio::select! {
        told = on_stage(&settings, &node) => told,
        () = signal.received() => Err(anyhow::anyhow!("interrupted")),
    };
    let ended = match told {
        Ok(report) => {
            if args.json {
                output::line(&serde_json::to_string(&report)?);
            } else {
                output::line(&report.text());
            }
            if !args.exit && report.is_ok() {
                return stay(node, &settings, args.json, &mut signal).await;
            }
            Ok(if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(1) })
        }
        Err(error) => Err(error),
    };
    match &passing {
        Some(prefix) => node.stop_and_discard(prefix).await?,
        None => node.stop().await,
    }
    ended
}

async fn on_stage(settings: &Settings, node: &Node) -> anyhow::Result<PhoneReport> {
    let url = node.url.as_deref().context("the demo has no HTTP interface")?;
    let admin_key = settings.data_dir.join(keys::name::ADMIN_KEY);
    let stage = Stage {
        client: AuthClient::new(ClientOptions::new(url, None), Arc::new(SystemClock), Arc::new(SystemEntropy))?,
        operator: Operator::at(&node.admin_url, &admin_key)?,
        log: node.log.clone(),
        audit: Topic::Audit.name(settings.prefix()),
        vault: Vault::new(keys::read_ring(&settings.key_ring())?),
    };
    tell_phones(&stage).await
}

/// A demo that ends leaves nothing behind, and needs no port of its own unless somebody named one.
fn temporary(settings: &mut Settings, args: &DemoArgs) -> anyhow::Result<Option<tempfile::TempDir>> {
    let free = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    settings.listen = args.serve.listen.unwrap_or(free);
    settings.admin_listen = args.serve.admin_listen.unwrap_or(free);
    if settings.data_dir_given {
        return Ok(None);
    }
    let dir = tempfile::Builder::new().prefix("ridgeline-demo-").tempdir().context("a temporary directory")?;
    settings.data_dir = dir.path().join("data");
    Ok(Some(dir))
}

/// In a cluster a demo that ends works under a prefix and in a keyspace of its own, unless somebody named them; the prefix.
fn apart(settings: &mut Settings, args: &DemoArgs) -> anyhow::Result<Option<String>> {
    let named = (args.serve.cluster.topic_prefix.is_some(), args.serve.cluster.keyspace.is_some());
    let (Some(kafka), Some(cql)) = (settings.kafka.as_mut(), settings.cql.as_mut()) else { return Ok(None) };
    match named {
        (true, true) => return Ok(None),
        (false, false) => {}
        // One of them alone would mix the demo with whatever else uses the other's default.
        _ => anyhow::bail!("give both --topic-prefix and --keyspace, or neither: a demo has its own then"),
    }
    let own = SystemEntropy.request_id().to_string();
    let own: String = own.chars().take(8).collect();
    kafka.prefix = format!("demo-{own}.");
    cql.keyspace = format!("demo_{own}");
    Ok(Some(kafka.prefix.clone()))
}

async fn story(
    client: Client,
    log: Arc<dyn EventLog>,
    audit: &TopicName,
    cast: Cast,
    began: Instant,
) -> anyhow::Result<Report> {
    let before = events(log.as_ref(), audit).await?;
    let (ended, first) = tell(client, cast, began).await?;
    // Each decision's audit event was acknowledged before the decision, so all of them are counted here.
    let audit_events = events(log.as_ref(), audit).await? - before;
    Ok(Report::new(&ended, audit_events, u64::try_from(first.as_millis()).unwrap_or(u64::MAX)))
}

/// Address and API key file of a demo, which always has both.
fn reached(node: &Node) -> anyhow::Result<(&str, &Path)> {
    let url = node.url.as_deref().context("the demo has no HTTP interface")?;
    let key = node.api_key_file.as_deref().context("the demo needs the first API key: not in profile production")?;
    Ok((url, key))
}

/// Records that were ever written to a topic.
async fn events(log: &dyn EventLog, topic: &TopicName) -> anyhow::Result<u64> {
    let ends = log.end_offsets(topic).await.context("the end of the audit topic")?;
    Ok(ends.iter().map(|offset| offset.0).sum())
}

async fn stay(node: Node, settings: &Settings, json: bool, signal: &mut StopSignal) -> anyhow::Result<ExitCode> {
    let examples = settings.data_dir.join("demo-images");
    let folder = examples.clone();
    tokio::task::spawn_blocking(move || write_examples(&folder)).await.context("the example images")??;
    let (url, key) = reached(&node)?;
    let invitation = invitation(url, &node.admin_url, key, &examples);
    // Standard output is one JSON object then, and nothing else.
    if json {
        output::remark(&invitation)
    } else {
        output::line(&invitation)
    }
    until_stopped(node, signal).await
}

/// Where everything is, and three commands to try.
fn invitation(url: &str, admin_url: &str, api_key_file: &Path, examples: &Path) -> String {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
    let (key, images) = (absolute(api_key_file), absolute(examples));
    let call = |fields: &str| {
        format!(
            "curl -sS -w '\\n' {url}/api/v1/scans -H \"X-API-Key: $(cat '{key}')\" -H 'Prefer: wait=10' -F dpi=500 {fields}"
        )
    };
    format!(
        "\nRidgeline is up: {url}\n  documentation  {url}/docs\n  health         {url}/health\n  metrics        \
         {admin_url}/metrics\n  API key file   {key}\n\nTry it with a finger that is not enrolled yet:\n\n# enrol\n{}\n\n\
         # verify\n{}\n\n# identify\n{}\n\nStop with Ctrl-C.",
        call(&format!(
            "-F operation=enrol -F subject_id=visitor -F 'sample=@{images}/enrol-1.png' -F 'sample=@{images}/enrol-2.png'"
        )),
        call(&format!("-F operation=verify -F subject_id=visitor -F 'sample=@{images}/verify.png'")),
        call(&format!("-F operation=identify -F 'sample=@{images}/identify.png'")),
    )
}
