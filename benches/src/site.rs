//! The binary's roles as processes of their own over the real stack, and what the kernel says of them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use ridgeline_client::{Client, ClientOptions};
use ridgeline_domain::Sensitive;
use tempfile::TempDir;

use crate::stack::Stack;

/// Clock ticks of a CPU second in `/proc/PID/stat`; fixed by the kernel's interface on every platform that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Keys, configuration, topics and tables of a deployment.
pub struct Site {
    dir: TempDir,
}

impl Site {
    /// Prepares one with the commands that an operator would use.
    ///
    /// # Errors
    /// A binary that is not built, a command that fails.
    pub fn prepare(stack: &Stack) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let Stack { brokers, contact_point, prefix, keyspace, .. } = stack;
        let text = format!(
            "[kafka]\nbrokers = \"{brokers}\"\nprefix = \"{prefix}\"\nreplication = 1\nmin_insync = 1\n\
             [cql]\nhosts = [\"{contact_point}\"]\nkeyspace = \"{keyspace}\"\n"
        );
        std::fs::write(dir.path().join("site.toml"), text)?;
        let site = Self { dir };
        for arguments in [&["init", "--gateway", "gw"][..], &["migrate"]] {
            let output = site.command()?.args(arguments).args(["--config", "site.toml"]).output()?;
            ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(site)
    }

    /// Starts a role; returns once it says that it is up.
    ///
    /// # Errors
    /// A role that ends.
    pub fn start(&self, role: &str, name: &str) -> Result<Role> {
        let log = std::fs::File::create(self.dir.path().join(format!("{role}-{name}.log")))?;
        let mut child = self
            .command()?
            .args([role, "--config", "site.toml", "--name", name])
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut said = String::new();
        while !said.contains("Stop with") {
            if lines.read_line(&mut said)? == 0 {
                let log = std::fs::read_to_string(self.dir.path().join(format!("{role}-{name}.log")))?;
                bail!("{role} ended: {said}{log}");
            }
        }
        let after = |mark: &str, end: &str| {
            let from = said.split_once(mark)?.1;
            Some(from.split_once(end)?.0.trim().to_owned())
        };
        let admin = after("metrics ", "/metrics").with_context(|| format!("no admin address in {said}"))?;
        Ok(Role { child, url: after("is up: ", "\n"), admin, _lines: lines })
    }

    /// A client of a gateway of this site.
    ///
    /// # Errors
    /// A role without an HTTP interface.
    pub fn client(&self, gateway: &Role) -> Result<Arc<Client>> {
        let key = std::fs::read_to_string(self.dir.path().join("data/api-key"))?;
        let key = Sensitive::new(key.trim().to_owned());
        let url = gateway.url.clone().context("not a gateway")?;
        Ok(Arc::new(Client::new(ClientOptions::new(url, Some(key)))?))
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(binary()?);
        for name in ["URL", "API_KEY", "ADMIN_URL", "CONFIG", "LOG", "KAFKA", "CQL"] {
            command.env_remove(format!("RIDGELINE_{name}"));
        }
        command.current_dir(self.dir.path()).env("RIDGELINE_DATA_DIR", self.dir.path().join("data"));
        Ok(command)
    }
}

/// Beside this bench, where cargo puts both: `target/<profile>/deps/<bench>` and `target/<profile>/ridgeline`.
fn binary() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let binary = own.parent().and_then(Path::parent).context("no target directory")?.join("ridgeline");
    ensure!(binary.is_file(), "the binary is not built; run: cargo build --package ridgeline-cli");
    Ok(binary)
}

/// A running process of the binary; killed when dropped.
pub struct Role {
    child: Child,
    url: Option<String>,
    admin: String,
    /// Kept open, so that what it prints later does not end it.
    _lines: BufReader<std::process::ChildStdout>,
}

impl Role {
    /// CPU seconds used so far, by all its threads.
    ///
    /// # Errors
    /// A process that has ended.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in parentheses may contain blanks; user and system time are the 12th and 13th field after it.
        let fields: Vec<&str> = stat.rsplit_once(')').context("no name")?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).context("a field is missing")?.parse::<f64>().context("no number");
        Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// A process that has ended.
    pub fn resident_bytes(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse::<f64>()? * 1_024.0)
    }

    /// The sum over all labels of a metric on the admin port.
    ///
    /// # Errors
    /// A process that does not answer.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let mut stream = std::net::TcpStream::connect(self.admin.trim_start_matches("http://"))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let values = answer
            .lines()
            .filter_map(|line| line.strip_prefix(name))
            .filter(|rest| rest.starts_with(['{', ' ']))
            .filter_map(|rest| rest.rsplit_once(' '))
            .filter_map(|(_, value)| value.parse::<f64>().ok());
        Ok(values.sum())
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
