//! A service as a child process, ended with the test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The binary with `<dir>/data` as its data directory and nothing of the caller's settings.
pub(crate) fn ridgeline(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ridgeline"));
    for name in [
        "RIDGELINE_URL",
        "RIDGELINE_API_KEY",
        "RIDGELINE_ADMIN_URL",
        "RIDGELINE_CONFIG",
        "RIDGELINE_LOG",
        "RIDGELINE_KAFKA",
        "RIDGELINE_CQL",
        "RIDGELINE_REGISTRY",
    ] {
        command.env_remove(name);
    }
    command.current_dir(dir).env("RIDGELINE_DATA_DIR", dir.join("data"));
    command
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn within(limit: Duration, condition: impl Fn() -> bool) {
    let step = Duration::from_millis(20);
    let steps = limit.as_millis() / step.as_millis();
    for _ in 0..steps {
        if condition() {
            return;
        }
        thread::sleep(step);
    }
    panic!("not within {limit:?}");
}

/// `ridgeline up` on free ports.
pub(crate) struct Up {
    child: Child,
    dir: PathBuf,
    url: String,
    admin_url: String,
    said: String,
    rest: Option<BufReader<std::process::ChildStdout>>,
    log: Option<thread::JoinHandle<String>>,
}

impl Up {
    /// Starts it and waits until it says where it is.
    pub(crate) fn start(dir: &Path, arguments: &[&str]) -> Self {
        Self::start_as("up", dir, arguments)
    }

    /// Starts one role, `ridgeline run …` or `up`, and waits until it says where it is.
    pub(crate) fn start_as(command: &str, dir: &Path, arguments: &[&str]) -> Self {
        let (name, mut command) = (command, ridgeline(dir));
        command.arg(name).args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log = thread::spawn(move || {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).unwrap();
            text(&bytes)
        });
        let mut rest = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("Stop with") {
            assert_ne!(rest.read_line(&mut said).unwrap(), 0, "the service ended: {}", log.join().unwrap());
        }
        let address = |mark: &str, end: &str| {
            let from = said.split_once(mark).unwrap().1;
            from.split_once(end).unwrap().0.trim().to_owned()
        };
        let admin_url = address("metrics ", "/metrics");
        // Without a gateway there is no other address.
        let url = if said.contains("is up: ") { address("is up: ", "\n") } else { admin_url.clone() };
        Self { child, dir: dir.to_owned(), url, admin_url, said, rest: Some(rest), log: Some(log) }
    }

    /// Where its HTTP interface is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The binary as a client of this service.
    pub(crate) fn command(&self) -> Command {
        let mut command = ridgeline(&self.dir);
        command.env("RIDGELINE_URL", &self.url).env("RIDGELINE_ADMIN_URL", &self.admin_url);
        command
    }

    /// What the admin port tells a scraper.
    pub(crate) fn metrics(&self) -> String {
        self.admin("/metrics")
    }

    /// An answer of the admin port, head and body.
    pub(crate) fn admin(&self, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(self.admin_url.trim_start_matches("http://")).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        text(&answer)
    }

    /// SIGKILL, as a crash would end it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; returns how it ended, what it printed, and its log.
    pub(crate) fn terminate(&mut self) -> (ExitStatus, String, String) {
        let asked = Command::new("sh").args(["-c", "kill -TERM $0", &self.child.id().to_string()]).status().unwrap();
        assert!(asked.success());
        let status = self.child.wait().unwrap();
        let mut said = self.said.clone();
        self.rest.take().unwrap().read_to_string(&mut said).unwrap();
        (status, said, self.log.take().unwrap().join().unwrap())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // Gone already, if the test ended it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
