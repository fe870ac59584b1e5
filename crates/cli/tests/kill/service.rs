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
    process: Process,
}

struct Process(Child);

impl Service {
    /// Starts it on this directory and free ports; returns when it is healthy.
    pub(crate) async fn start(dir: &Path) -> Self {
        let (listen, admin) = (free_address(), free_address());
        let mut command = Command::new(env!("CARGO_BIN_EXE_ridgeline"));
        command
            .args(["up", "--listen", &listen, "--admin-listen", &admin, "--log-level", "warn", "--data-dir"])
            .arg(dir);
        let process = Process(command.stdout(Stdio::null()).spawn().unwrap());
        let limit = tokio::time::Instant::now() + READY;
        loop {
            if let Ok(key) = std::fs::read_to_string(dir.join("api-key")) {
                let key = Some(Sensitive::new(key.trim().to_owned()));
                let client = Client::new(ClientOptions::new(format!("http://{listen}"), key)).unwrap();
                if client.health().await.is_ok_and(|health| health["status"] == "healthy") {
                    return Self { client, process };
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
