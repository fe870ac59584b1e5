//! A deployment of separate processes: started, killed, stopped, asked.

use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ridgeline_client::{Client, ClientOptions};
use ridgeline_cql::{Cql, CqlConfig};
use ridgeline_domain::Sensitive;
use ridgeline_kafka::{Kafka, KafkaConfig};
use ridgeline_runtime::{SystemClock, SystemEntropy};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::place::Place;

/// A process that is not ready by then fails its test.
const READY: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(50);
/// Members that vanish are out of their group after this: the least that the brokers of the test stack allow, doubled.
pub(crate) const SESSION_MS: &str = "2000";
const SIGKILL: i32 = 9;

/// Everything that the processes of one scenario share.
pub(crate) struct Site {
    pub(crate) place: Place,
    pub(crate) kafka: Kafka,
    config: String,
    dir: TempDir,
}

/// One process; killed when dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    pub(crate) url: String,
    pub(crate) admin_url: String,
}

impl Site {
    /// Topics, tables and keys, made by the commands that an operator uses. `None`: there is no stack.
    pub(crate) fn deploy() -> Option<Self> {
        Some(Self::deploy_at(Place::new()?))
    }

    pub(crate) fn deploy_at(place: Place) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = place.configure(dir.path(), &[("session.timeout.ms", SESSION_MS)]);
        let kafka = Kafka::connect(KafkaConfig::new(&place.kafka, "oracle")).unwrap();
        let site = Self { place, kafka, config, dir };
        for command in [&["init", "--gateway", "gw"][..], &["topics", "apply"], &["migrate"]] {
            let output = site.command().args(command).output().unwrap();
            assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        site
    }

    /// Prefix of topics and groups.
    pub(crate) fn prefix(&self) -> String {
        format!("{}.", self.place.own)
    }

    /// A session with the store.
    pub(crate) async fn store(&self) -> Cql {
        let config = CqlConfig::new(vec![self.place.cql.clone()], &self.place.own);
        Cql::connect(config, Arc::new(SystemClock), &SystemEntropy).await.unwrap()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ridgeline"));
        command.env("RIDGELINE_CONFIG", &self.config).env("RIDGELINE_DATA_DIR", self.data());
        command.env("RIDGELINE_LOG", "warn").current_dir(self.dir.path());
        command
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Starts a role on free ports and does not wait for it. `environment` goes to the process.
    pub(crate) fn launch(&self, role: &str, name: &str, environment: &[(&str, String)]) -> Process {
        let (listen, admin) = (free_address(), free_address());
        let log = std::fs::File::create(self.dir.path().join(format!("{name}.log"))).unwrap();
        let mut command = self.command();
        command.args([role, "--listen", &listen, "--admin-listen", &admin]);
        // Gateways of one directory share its key, and so their name.
        command.args(["--name", if role == "gateway" { "gw" } else { name }]);
        command.envs(environment.iter().map(|(name, value)| (*name, value.as_str())));
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let (url, admin_url) = (format!("http://{listen}"), format!("http://{admin}"));
        Process { name: name.to_owned(), child, url, admin_url }
    }

    /// Starts a role and waits until it is ready.
    pub(crate) async fn start(&self, role: &str, name: &str) -> Process {
        let mut process = self.launch(role, name, &[]);
        self.ready(&mut process).await;
        process
    }

    /// A gateway, a gallery shard and a merger: what every scenario has beside its matchers.
    pub(crate) async fn surroundings(&self) -> (Process, Vec<Process>) {
        let mut all = [("gateway", "gw-1"), ("gallery", "gallery"), ("merger", "merger")]
            .map(|(role, name)| self.launch(role, name, &[]));
        for process in &mut all {
            self.ready(process).await;
        }
        let [gateway, gallery, merger] = all;
        (gateway, vec![gallery, merger])
    }

    /// Waits until the admin port says ready.
    pub(crate) async fn ready(&self, process: &mut Process) {
        let client = Client::new(ClientOptions::new(&process.admin_url, None)).unwrap();
        let limit = Instant::now() + READY;
        loop {
            if client.call_json("GET", "health/ready", None, None).await.is_ok() {
                return;
            }
            if let Some(status) = process.child.try_wait().unwrap() {
                panic!("{} ended with {status}: {}", process.name, self.log(&process.name));
            }
            assert!(Instant::now() < limit, "{} is not ready: {}", process.name, self.log(&process.name));
            sleep(LOOK).await;
        }
    }

    /// What a process has logged.
    pub(crate) fn log(&self, name: &str) -> String {
        let mut text = String::new();
        let file = std::fs::File::open(self.dir.path().join(format!("{name}.log")));
        let _ = file.and_then(|mut file| file.read_to_string(&mut text));
        text
    }

    /// A client of a gateway, with the first API key.
    pub(crate) fn client(&self, gateway: &Process) -> Client {
        let key = std::fs::read_to_string(self.data().join("api-key")).unwrap();
        Client::new(ClientOptions::new(&gateway.url, Some(Sensitive::new(key.trim().to_owned())))).unwrap()
    }
}

impl Process {
    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and how the process ended.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        let asked = Command::new("sh").args(["-c", "kill -TERM $0", &self.child.id().to_string()]).status().unwrap();
        assert!(asked.success());
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            sleep(LOOK).await;
        }
    }

    /// Whether the process has ended by a SIGKILL of its own; panics if it ended otherwise.
    pub(crate) fn has_died(&mut self) -> bool {
        let Some(status) = self.child.try_wait().unwrap() else { return false };
        assert_eq!(status.signal(), Some(SIGKILL), "{} ended by itself: {status}", self.name);
        true
    }

    /// A figure of `/metrics`, summed over its labels; 0 where it is not there.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = plain_get(&format!("{}/metrics", self.admin_url)).await;
        let of = |line: &str| line.split_whitespace().last().and_then(|value| value.parse::<f64>().ok());
        text.lines().filter(|line| line.starts_with(name)).filter_map(of).sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A plain GET; the metrics are no JSON, which is all that the client reads.
async fn plain_get(url: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (address, path) = url.trim_start_matches("http://").split_once('/').unwrap();
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
