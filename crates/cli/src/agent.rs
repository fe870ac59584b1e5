//! `ridgeline agent`: a capture agent of its own, which hands its scans to a service over HTTP, or to Kafka.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use ridgeline_agent::{
    Agent, AgentParts, FolderOptions, FolderReader, HttpPublisher, LogPublisher, Publisher, Reader, SimulatedReader,
    Spool, SpoolLimits, Touch,
};
use ridgeline_client::{Client, ClientOptions};
use ridgeline_domain::Sensitive;
use ridgeline_intake::Signer;
use ridgeline_kafka::Kafka;
use ridgeline_ports::{Clock, Entropy};
use ridgeline_runtime::{CpuPool, Health, SystemClock, SystemEntropy};
use ridgeline_vault::{SigningKey, Vault};
use ridgeline_wire::Topic;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::args::AgentArgs;
use crate::config::Settings;
use crate::operator::Operator;
use crate::serve::StopSignal;
use crate::{connect, keys, output, remote, schemas, telemetry};

/// Runs until a signal, or until a simulated reader has served its images and all of them have arrived.
///
/// # Errors
/// What keeps the agent from starting.
pub(crate) async fn run(settings: Settings, args: AgentArgs) -> anyhow::Result<ExitCode> {
    telemetry::log(&settings, "info")?;
    let mut signal = StopSignal::new()?;
    let dir = args.agent_dir.clone().unwrap_or_else(|| settings.data_dir.join("agents").join(args.id.as_str()));
    keys::private_dir(&dir)?;
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let key = keys::signing_key(&dir.join(keys::name::AGENT_KEY), entropy.as_ref())?;
    if args.register {
        register(&settings, &args, &key).await?;
    }
    let (agent, kafka) = agent(&settings, &args, &dir, key.clone(), entropy.clone()).await?;
    let reader = reader(&args, entropy)?;
    output::line(&format!("Agent {} is up, {} with reader {}", args.id, args.operation, reader.id()));
    output::line(&format!("  public key     {}", key.verifying_key()));
    output::line(&format!("  in the spool   {}", agent.waiting()));
    let stop = CancellationToken::new();
    let running = agent.run(vec![reader], stop.clone());
    tokio::pin!(running);
    let ended = tokio::select! {
        ended = &mut running => ended.context("the agent ended"),
        reason = broken(kafka.as_ref()) => {
            stop.cancel();
            if let Err(error) = running.await {
                tracing::error!(error = format!("{error:#}"), "the agent did not stop well");
            }
            Err(anyhow!("the log failed for good: {reason}; scans wait in the spool for the next start"))
        }
        () = signal.received() => {
            stop.cancel();
            running.await.context("the agent ended")
        }
    };
    ended?;
    match agent.waiting() {
        0 => output::line("All scans have arrived."),
        waiting => output::line(&format!("{waiting} scans wait in the spool for the next start.")),
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the agent known to the service for its operation. An id that is known already is left as it is.
async fn register(settings: &Settings, args: &AgentArgs, key: &SigningKey) -> anyhow::Result<()> {
    let operator = Operator::new(settings, &args.admin)?;
    let known = operator.call("GET", "admin/agents", None).await?;
    let public_key = key.verifying_key().to_string();
    let own = known.as_array().into_iter().flatten().find(|agent| agent["id"] == args.id.as_str());
    if let Some(own) = own {
        if own["public_key"] != public_key.as_str() {
            bail!("another agent is registered as {}; choose another --id", args.id);
        }
        return Ok(());
    }
    let body = json!({ "id": args.id.as_str(), "public_key": public_key, "operations": [args.operation.as_str()] });
    operator.call("POST", "admin/agents", Some(&body)).await?;
    Ok(())
}

async fn agent(
    settings: &Settings,
    args: &AgentArgs,
    dir: &Path,
    key: SigningKey,
    entropy: Arc<dyn Entropy>,
) -> anyhow::Result<(Agent, Option<Kafka>)> {
    let sealing = args.sealing_key.clone().unwrap_or_else(|| settings.data_dir.join(keys::name::SEALING_KEY));
    let sealing = keys::read_sealing_key(&sealing).context(
        "the agent needs the public key that samples are sealed to: the service writes it to <data-dir>/sealing-key",
    )?;
    let vault = Vault::new(keys::ring(&dir.join(keys::name::KEY_RING), entropy.as_ref())?);
    let topic = Topic::Scans.name(settings.prefix());
    let spool = Spool::open(&dir.join("spool"), topic.clone(), vault, entropy.clone(), SpoolLimits::default());
    let health = Health::new();
    let (publisher, kafka) = publisher(settings, args, &health).await?;
    let agent = Agent::new(AgentParts {
        signer: Signer::new(args.id.clone(), key, sealing),
        topic,
        spool: spool.context("the agent's spool")?,
        publisher,
        cpu: CpuPool::with_default_threads()?,
        entropy,
        health,
    });
    Ok((agent, kafka))
}

/// Waits until Kafka, where it is used, can do nothing any more.
async fn broken(kafka: Option<&Kafka>) -> String {
    match kafka {
        Some(kafka) => kafka.broken().await,
        None => std::future::pending().await,
    }
}

/// To Kafka where it is configured and no service is named, else through a service. Over HTTP the record's signature is
/// the credential; no API key is sent.
async fn publisher(
    settings: &Settings,
    args: &AgentArgs,
    health: &Health,
) -> anyhow::Result<(Arc<dyn Publisher>, Option<Kafka>)> {
    match (&settings.kafka, &args.remote.url) {
        (Some(kafka), None) => {
            let kafka = connect::kafka(kafka)?;
            let mut log = kafka.log();
            if let Some(registry) = settings.registry.as_ref().map(schemas::connect).transpose()? {
                log = schemas::translated(log, registry, settings.prefix(), health).await?;
            }
            Ok((Arc::new(LogPublisher(log)), Some(kafka)))
        }
        (_, url) => {
            let url = url.clone().unwrap_or_else(|| remote::local_url(settings.listen));
            Ok((Arc::new(HttpPublisher(Client::new(ClientOptions::new(url, None))?)), None))
        }
    }
}

fn reader(args: &AgentArgs, entropy: Arc<dyn Entropy>) -> anyhow::Result<Box<dyn Reader>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let id = |default: &str| args.reader.clone().map_or_else(|| default.parse(), Ok);
    if let Some(folder) = &args.folder {
        let mut options = FolderOptions::new(folder.clone(), args.operation);
        options.dpi = args.dpi;
        options.position = args.position;
        options.delete_done = args.delete_done;
        let reader = FolderReader::open(id("folder")?, options, clock, entropy);
        return Ok(Box::new(reader.context("the folder to watch")?));
    }
    let Some(images) = &args.simulate else { bail!("give --folder or --simulate") };
    let touches = touches(images, args)?;
    let pace = Duration::from_millis(args.pace_ms);
    Ok(Box::new(SimulatedReader::new(id("simulated")?, touches, pace, clock, entropy)))
}

/// The images of a folder by name; the subject is what stands before the first dot or the last underscore.
fn touches(folder: &Path, args: &AgentArgs) -> anyhow::Result<Vec<Touch>> {
    let context = || format!("cannot read {}", folder.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        if path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    let touch = |path: &std::path::PathBuf| {
        let stem = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let stem = stem.split('.').next().unwrap_or_default();
        let name = stem.rsplit_once('_').map_or(stem, |(name, _)| name);
        let subject = args.operation.needs_subject().then(|| name.parse()).transpose();
        Ok(Touch {
            operation: args.operation,
            subject: subject.with_context(|| format!("the name of {} holds no subject id", path.display()))?,
            position: args.position,
            image: Sensitive::new(std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?),
            dpi: args.dpi,
        })
    };
    paths.iter().map(touch).collect()
}
