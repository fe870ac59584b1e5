//! `ridgeline up` as a process of its own.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use ridgeline_client::{Client, ClientOptions};
use ridgeline_domain::Sensitive;

const READY: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// A running service; killed when dropped.
pub(crate) struct Service {
    pub(crate) client: Client,
    pub(crate) url: String,
    admin_url: String,
    process: Process,
}

struct Process(Child);

impl Service {
    /// Starts it on this directory and free ports; returns when it is healthy.
    pub(crate) async fn start(dir: &Path) -> Self {
        Self::start_to_fail(dir, None).await
    }

    /// The same; kills itself at a fail point, for instance `after-store:1`.
    pub(crate) async fn start_to_fail(dir: &Path, point: Option<&str>) -> Self {
        let (listen, admin) = (free_address(), free_address());
        let mut command = Command::new(env!("CARGO_BIN_EXE_ridgeline"));
        command
            .args(["up", "--listen", &listen, "--admin-listen", &admin, "--log-level", "warn", "--data-dir"])
            .arg(dir);
        if let Some(point) = point {
            command.env("RIDGELINE_FAIL_POINT", point);
        }
        let process = Process(command.stdout(Stdio::null()).spawn().unwrap());
        let limit = tokio::time::Instant::now() + READY;
        loop {
            if let Ok(key) = std::fs::read_to_string(dir.join("api-key")) {
                let key = Some(Sensitive::new(key.trim().to_owned()));
                let (url, admin_url) = (format!("http://{listen}"), format!("http://{admin}"));
                let client = Client::new(ClientOptions::new(url.clone(), key)).unwrap();
                if client.health().await.is_ok_and(|health| health["status"] == "healthy") {
                    return Self { client, url, admin_url, process };
                }
            }
            assert!(tokio::time::Instant::now() < limit, "the service did not become healthy");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
    }

    /// Adds a user of the service's own.
    pub(crate) fn add_user(&self, dir: &Path, email: &str, password: &str) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ridgeline"));
        command
            .args(["users", "--admin-url", &self.admin_url, "add", email, "--password-stdin", "--data-dir"])
            .arg(dir);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), password.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// Waits until the process has ended by itself.
    pub(crate) async fn ended(self) -> ExitStatus {
        let mut process = self.process;
        tokio::task::spawn_blocking(move || process.0.wait().unwrap()).await.unwrap()
    }

    /// SIGTERM, and what the process says to it.
    pub(crate) async fn stop(self) -> ExitStatus {
        let mut process = self.process;
        let asked = Command::new("sh").args(["-c", "kill -TERM $0", &process.0.id().to_string()]).status().unwrap();
        assert!(asked.success());
        tokio::task::spawn_blocking(move || process.0.wait().unwrap()).await.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
