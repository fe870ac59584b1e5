//! One process of a deployment.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use ridgeline_client::{Client, ClientOptions};
use ridgeline_domain::Sensitive;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// A busy machine starts a process late; nothing is measured by this.
const START_MAX: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// A running process; killed when dropped.
pub(crate) struct Member {
    name: String,
    child: Child,
    said: PathBuf,
    data_dir: PathBuf,
}

impl Member {
    /// Starts `command` with its own data directory below `dir`. What it logs goes to `<dir>/logs`.
    pub(crate) fn spawn(mut command: Command, dir: &Path, name: &str) -> Self {
        let file = |kind: &str| dir.join("logs").join(format!("{name}.{kind}"));
        let create = |kind: &str| std::fs::File::options().create(true).append(true).open(file(kind)).unwrap();
        let said = file("out");
        // A restart says anew where it is.
        let _ = std::fs::remove_file(&said);
        let data_dir = dir.join(name);
        command.arg("--data-dir").arg(&data_dir).stdin(Stdio::null()).stdout(create("out")).stderr(create("log"));
        Self { name: name.to_owned(), child: command.spawn().unwrap(), said, data_dir }
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(mut self) -> Self {
        let limit = Instant::now() + START_MAX;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{} ended before it was ready: {status}", self.name);
            }
            if let Some((200, _)) = self.ask("/health/ready").await {
                return self;
            }
            assert!(Instant::now() < limit, "{} did not become ready", self.name);
            sleep(PAUSE).await;
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; returns once it has stopped in order.
    pub(crate) async fn stop(mut self) {
        let asked = Command::new("sh").args(["-c", "kill -TERM $0", &self.child.id().to_string()]).status().unwrap();
        assert!(asked.success());
        let status = self.ended().await;
        assert!(status.success(), "{} did not stop well: {status}", self.name);
    }

    /// Waits until it has killed itself.
    pub(crate) async fn died(mut self) {
        let status = self.ended().await;
        assert_eq!(status.signal(), Some(9), "{} ended with {status} instead of dying", self.name);
    }

    async fn ended(&mut self) -> ExitStatus {
        let limit = Instant::now() + START_MAX;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < limit, "{} does not end", self.name);
            sleep(PAUSE).await;
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Waits until it has printed what stands between `mark` and `end`.
    pub(crate) async fn says(&self, mark: &str, end: &str) -> String {
        let limit = Instant::now() + START_MAX;
        loop {
            if let Some(text) = self.address(mark, end) {
                return text;
            }
            assert!(Instant::now() < limit, "{} does not say its {mark}", self.name);
            sleep(PAUSE).await;
        }
    }

    /// A client of a gateway that sends each request once.
    pub(crate) fn client(&self, key: &str) -> Client {
        let url = self.url();
        let mut options = ClientOptions::new(url, Some(Sensitive::new(key.to_owned())));
        options.attempts_max = 1;
        Client::new(options).unwrap()
    }

    /// Address of a gateway.
    pub(crate) fn url(&self) -> String {
        self.address("is up: ", "\n").unwrap()
    }

    /// Address of its admin port.
    pub(crate) fn admin_url(&self) -> String {
        self.address("metrics ", "/metrics").unwrap()
    }

    /// The first API key, which a gateway makes.
    pub(crate) fn api_key(&self) -> String {
        std::fs::read_to_string(self.data_dir.join("api-key")).unwrap().trim().to_owned()
    }

    /// The sum of a metric's samples whose line contains `labels`.
    pub(crate) async fn metric(&self, name: &str, labels: &str) -> f64 {
        let Some((200, body)) = self.ask("/metrics").await else { return 0.0 };
        let lines = body.lines().filter(|line| line.starts_with(name) && line.contains(labels));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// Whether it says that it can work.
    pub(crate) async fn is_ready(&self) -> bool {
        matches!(self.ask("/health/ready").await, Some((200, _)))
    }

    /// A line of `/proc/<pid>/status` in kilobytes, for instance `VmHWM`, the most memory it ever had.
    pub(crate) fn kilobytes(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn address(&self, mark: &str, end: &str) -> Option<String> {
        let said = std::fs::read_to_string(&self.said).ok()?;
        Some(said.split_once(mark)?.1.split_once(end)?.0.trim().to_owned())
    }

    /// Status and body of an answer of the admin port.
    async fn ask(&self, path: &str) -> Option<(u16, String)> {
        let address = self.address("metrics ", "/metrics")?;
        let mut stream = TcpStream::connect(address.trim_start_matches("http://")).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
