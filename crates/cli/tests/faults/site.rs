//! A deployment of a scenario's own: its prefix, its keyspace, its processes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ridgeline_client::Client;
use ridgeline_cql::Cql;
use ridgeline_domain::{Operation, SubjectId, Timestamp};
use ridgeline_egress::ConfiguredOptions;
use ridgeline_intake::{PreparedSample, RawSample, ScanOptions, ScanRequest, Signer, prepare};
use ridgeline_kafka::Kafka;
use ridgeline_ports::{Entropy as _, EventLog, NewRecord, Store};
use ridgeline_registry::{Registry, TranslatedLog};
use ridgeline_runtime::{Health, SystemClock, SystemEntropy};
use ridgeline_vault::{SealingKey, SigningKey};
use ridgeline_wire::Topic;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::member::Member;
use crate::oracle::{self, Seen, Verdict};
use crate::place::Place;
use crate::sampler::Sampler;
use crate::scans;
use crate::traffic::{Ledger, Watcher};

/// How long the rest of the work may take once nothing fails any more. On a busy machine; nothing is measured by this.
const PATIENCE: Duration = Duration::from_secs(180);
/// A killed member's partitions are free after this; short, because a scenario kills many.
pub(crate) const SESSION: Duration = Duration::from_secs(3);
/// What a process uses that is not told otherwise.
pub(crate) const SESSION_DEFAULT: Duration = Duration::from_secs(10);

/// What auth workers take proofs of possession to speak of; nobody is reached there.
pub(crate) const PUBLIC_URL: &str = "http://faults.example";

/// A deployment; removed when dropped.
pub(crate) struct Site {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) prefix: String,
    pub(crate) watcher: Watcher,
    pub(crate) images: Arc<Vec<Vec<u8>>>,
    pub(crate) dir: TempDir,
    sampler: Sampler,
    config: PathBuf,
    keyspace: String,
    place: Place,
    kafka: Kafka,
}

impl Site {
    /// Deploys with short sessions.
    pub(crate) async fn new(place: &Place) -> Self {
        Self::with_sessions(place, SESSION).await
    }

    /// Makes keys, topics and tables as an operator does.
    pub(crate) async fn with_sessions(place: &Place, session: Duration) -> Self {
        let own: String = SystemEntropy.request_id().to_string().chars().take(8).collect();
        let (prefix, keyspace) = (format!("fault{own}."), format!("fault{own}"));
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("logs")).unwrap();
        let config = dir.path().join("site.toml");
        let keys =
            format!("[keys]\nring = {:?}\nagents = {:?}\n", dir.path().join("ring"), dir.path().join("agents.toml"));
        let mut text = place.configuration(dir.path(), &prefix, &keyspace);
        if session != SESSION_DEFAULT {
            let (session, heartbeat) = (session.as_millis(), session.as_millis() / 10);
            text += &format!(
                "[kafka.options]\n\"session.timeout.ms\" = \"{session}\"\n\"heartbeat.interval.ms\" = \"{heartbeat}\"\n"
            );
        }
        let public = format!("public_url = \"{PUBLIC_URL}\"\n");
        std::fs::write(&config, public + &keys + &text + "[auth]\nrate_limits = false\n").unwrap();
        let registering = place.registry.as_ref().map(|_| &["schemas", "register"][..]);
        let making = [&["init", "--gateway", "gw1"][..], &["topics", "apply"], &["migrate"]];
        for arguments in making.into_iter().chain(registering) {
            run(&config, &dir.path().join("gw1"), arguments);
        }
        let kafka = Kafka::connect(place.kafka_config()).unwrap();
        let log = translated(place, kafka.log(), &prefix).await;
        let cql = Cql::connect(place.cql_config(&keyspace), Arc::new(SystemClock), &SystemEntropy).await.unwrap();
        Self {
            watcher: Watcher::start(&log, &prefix).await,
            sampler: Sampler::start(&log, &prefix),
            images: Arc::new(scans::images()),
            store: cql.store(),
            place: place.clone(),
            log,
            prefix,
            dir,
            config,
            keyspace,
            kafka,
        }
    }

    /// The command of a role.
    pub(crate) fn command(&self, role: &str, name: &str) -> Command {
        let mut command = ridgeline(&self.config);
        command.args([role, "--name", name, "--log-level", "warn"]);
        command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        command
    }

    /// Adds a user through the admin port of a gateway.
    pub(crate) fn add_user(&self, gateway: &Member, email: &str, password: &str) {
        let mut command = ridgeline(&self.config);
        command.args(["users", "--admin-url", &gateway.admin_url(), "add", email, "--password-stdin", "--data-dir"]);
        command.arg(self.dir.path().join(gateway.name()));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), password.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// Starts what `command` says under the name it bears; returns at once.
    pub(crate) fn spawn(&self, command: Command, name: &str) -> Member {
        Member::spawn(command, self.dir.path(), name)
    }

    /// Starts a role and waits until it is ready.
    pub(crate) async fn start(&self, role: &str, name: &str) -> Member {
        self.spawn(self.command(role, name), name).ready().await
    }

    /// Starts a gateway that shares no directory with another one; the keys of `gw1` exist.
    pub(crate) async fn gateway(&self, name: &str) -> Member {
        if name != "gw1" {
            run(&self.config, &self.dir.path().join(name), &["init", "--gateway", name]);
        }
        self.start("gateway", name).await
    }

    /// Starts one gateway, one gallery shard and one of each of `roles`, and returns a client of the gateway.
    pub(crate) async fn base(&self, roles: &[&str]) -> (Client, Vec<Member>) {
        let gateway = self.gateway("gw1").await;
        let client = gateway.client(&gateway.api_key());
        let mut members = vec![gateway, self.start("gallery", "gallery").await];
        for role in roles {
            members.push(self.start(role, role).await);
        }
        (client, members)
    }

    /// Makes an agent that all processes know.
    pub(crate) fn agent(&self, name: &str) -> Signer {
        let key = SigningKey::generate(&SystemEntropy).unwrap();
        self.introduce(name, &key.verifying_key().to_string());
        Signer::new(name.parse().unwrap(), key, self.sealing_key())
    }

    /// Makes an agent known by its public key.
    pub(crate) fn introduce(&self, name: &str, public_key: &str) {
        let file = self.dir.path().join("agents.toml");
        let operations: Vec<_> = Operation::ALL.iter().map(|operation| format!("\"{operation}\"")).collect();
        let operations = operations.join(", ");
        let mut text = std::fs::read_to_string(&file).unwrap();
        text += &format!("\n[[agent]]\nid = \"{name}\"\npublic_key = \"{public_key}\"\noperations = [{operations}]\n");
        // Whole at any moment: processes read it when it changes.
        let aside = file.with_extension("new");
        std::fs::write(&aside, text).unwrap();
        std::fs::rename(aside, file).unwrap();
    }

    fn sealing_key(&self) -> SealingKey {
        use base64::Engine as _;
        let text = std::fs::read_to_string(self.dir.path().join("gw1/sealing-key")).unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(text.trim()).unwrap();
        SealingKey::from_public_bytes(&bytes).unwrap()
    }

    /// A record as `signer` would publish it, of a finger placed at `captured_at`.
    pub(crate) fn record(&self, signer: &Signer, subject: &str, image: usize, captured_at: Timestamp) -> NewRecord {
        let subject: SubjectId = subject.parse().unwrap();
        let request = ScanRequest {
            request_id: SystemEntropy.request_id(),
            operation: Operation::Verify,
            subject: Some(subject),
            reader: None,
            captured_at,
            position: ridgeline_domain::Position::Unknown,
            samples: vec![self.sample(image)],
            options: ScanOptions::default(),
            metadata: std::collections::BTreeMap::new(),
            api_key: None,
        };
        signer.scan_record(Topic::Scans.name(&self.prefix), &request, &SystemEntropy).unwrap()
    }

    fn sample(&self, image: usize) -> PreparedSample {
        let bytes = self.images[image % self.images.len()].clone();
        prepare(&RawSample { format: None, bytes: ridgeline_domain::Sensitive::new(bytes), dpi: Some(500) }).unwrap()
    }

    /// Waits until everything accepted is decided and committed, or until patience ends.
    pub(crate) async fn settle(&self, ledger: &Ledger) {
        let limit = Instant::now() + PATIENCE;
        while Instant::now() < limit {
            let undecided = ledger.accepted().iter().any(|id| !self.watcher.has(id));
            if !undecided && oracle::unfinished(&*self.log, &self.prefix).await.is_empty() {
                return;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until `arrived` holds as well, for records that no caller was promised.
    pub(crate) async fn judge_until(&mut self, ledger: &Ledger, arrived: impl AsyncFn(&Self) -> bool) -> Verdict {
        let limit = Instant::now() + PATIENCE;
        while !arrived(self).await && Instant::now() < limit {
            sleep(Duration::from_secs(1)).await;
        }
        self.judge(ledger).await
    }

    /// Waits until everything is done, and judges it.
    pub(crate) async fn judge(&mut self, ledger: &Ledger) -> Verdict {
        self.settle(ledger).await;
        let snapshots = self.sampler.stop().await;
        let seen = Seen::read(&*self.log, &self.prefix).await;
        let answered: BTreeSet<_> = ledger.accepted().into_iter().collect();
        let mut verdict = oracle::judge(&seen, &*self.log, &self.store, &self.prefix, &answered).await;
        let opened = oracle::records(&*self.log, &self.prefix, Topic::Partials).await;
        for fault in crate::sampler::check(&snapshots, &seen, &opened) {
            verdict.fault("D-2, an offset past unfinished work", fault);
        }
        if snapshots.is_empty() {
            verdict.fault("no offsets were looked at", "");
        }
        for odd in ledger.odd() {
            verdict.fault("an answer that nobody should get", odd);
        }
        if verdict.changes == 0 {
            verdict.fault("no subject was changed: it proves too little", "");
        }
        if !verdict.faults().is_empty() {
            self.tell_logs();
        }
        verdict
    }
}

fn registry(address: &str) -> Registry {
    Registry::new(ConfiguredOptions::new(address)).unwrap()
}

/// The log as workers see it: with our schema ids, also where a registry's stand in it.
async fn translated(place: &Place, log: Arc<dyn EventLog>, prefix: &str) -> Arc<dyn EventLog> {
    match &place.registry {
        Some(address) => Arc::new(TranslatedLog::open(log, registry(address), prefix, &Health::new()).await.unwrap()),
        None => log,
    }
}

/// The binary with nothing of the caller's settings.
fn ridgeline(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ridgeline"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RIDGELINE_")) {
        command.env_remove(name);
    }
    command.arg("--config").arg(config);
    command
}

fn run(config: &Path, data_dir: &Path, arguments: &[&str]) {
    let output = ridgeline(config).args(arguments).arg("--data-dir").arg(data_dir).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell_logs();
        }
        let (kafka, prefix) = (self.kafka.clone(), self.prefix.clone());
        let (config, keyspace) = (self.place.cql_config(&self.keyspace), self.keyspace.clone());
        let registry = self.place.registry.as_deref().map(registry);
        // A runtime of its own: the scenario may be ending by a panic.
        let cleaning = std::thread::spawn(move || {
            tokio::runtime::Runtime::new().unwrap().block_on(async {
                // A service of the scenario's own may be dead, and goes away with all that it holds.
                if let Err(error) = kafka.delete_topics(&prefix).await {
                    crate::line(&format!("the topics of {prefix} stay: {error}"));
                }
                kafka.shutdown().await;
                if let Some(registry) = registry {
                    ridgeline_registry::remove(&registry, &prefix).await.unwrap();
                }
                let cql = Cql::connect(config, Arc::new(SystemClock), &SystemEntropy).await;
                let dropped = match &cql {
                    Ok(cql) => cql.drop_keyspace().await,
                    Err(_) => Ok(()),
                };
                if cql.is_err() || dropped.is_err() {
                    crate::line(&format!("the keyspace {keyspace} stays"));
                }
            });
        });
        let _ = cleaning.join();
    }
}

impl Site {
    /// The end of each process's log, for whoever looks into a failure.
    pub(crate) fn tell_logs(&self) {
        for entry in std::fs::read_dir(self.dir.path().join("logs")).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            if path.extension().is_some_and(|kind| kind == "log") && !lines.is_empty() {
                let last = lines[lines.len().saturating_sub(12)..].join("\n  ");
                crate::line(&format!("{}:\n  {last}", path.file_name().unwrap().to_string_lossy()));
            }
        }
    }
}
