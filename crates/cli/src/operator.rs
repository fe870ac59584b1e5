//! Commands for operators, through the admin port.

use std::io::{BufRead as _, IsTerminal as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use ridgeline_client::{Client, ClientOptions};
use ridgeline_domain::Sensitive;
use serde_json::{Value, json};

use crate::args::{AdminArgs, AgentsArgs, AgentsCommand, KeysArgs, KeysCommand, PasswordArgs, UsersArgs, UsersCommand};
use crate::config::Settings;
use crate::{keys, output, remote};

/// The admin port of a service.
pub(crate) struct Operator {
    client: Client,
    key: Sensitive<String>,
}

impl Operator {
    /// Reads the admin key of the data directory.
    ///
    /// # Errors
    /// If there is none, or others can read it.
    pub(crate) fn new(settings: &Settings, admin: &AdminArgs) -> anyhow::Result<Self> {
        let file = admin.admin_key_file.clone().unwrap_or_else(|| settings.data_dir.join(keys::name::ADMIN_KEY));
        let key = keys::read_secret(&file).context("no admin key: name its file with --admin-key-file")?;
        let url = admin.admin_url.clone().unwrap_or_else(|| remote::local_url(settings.admin_listen));
        Ok(Self { client: Client::new(ClientOptions::new(url, None))?, key })
    }

    /// At this address, with the admin key of this file.
    ///
    /// # Errors
    /// If there is none, or others can read it.
    pub(crate) fn at(url: &str, key_file: &std::path::Path) -> anyhow::Result<Self> {
        let key = keys::read_secret(key_file)?;
        Ok(Self { client: Client::new(ClientOptions::new(url, None))?, key })
    }

    /// One call.
    ///
    /// # Errors
    /// What the service refuses.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        Ok(self.client.call_json(method, path, &[("x-admin-key", &self.key)], body).await?)
    }
}

/// `keys …`
///
/// # Errors
/// What the service refuses.
pub(crate) async fn keys(settings: &Settings, args: KeysArgs) -> anyhow::Result<ExitCode> {
    let operator = Operator::new(settings, &args.admin)?;
    let answer = match args.command {
        KeysCommand::List => operator.call("GET", "admin/keys", None).await?,
        KeysCommand::Create { name, permissions } => {
            let permissions: Vec<_> = permissions.iter().map(|permission| permission.as_str()).collect();
            let body = json!({ "name": name, "permissions": permissions });
            operator.call("POST", "admin/keys", Some(&body)).await?
        }
        KeysCommand::Revoke { id } => {
            let id: ridgeline_domain::ApiKeyId = id.parse().context("that is no id of a key")?;
            operator.call("DELETE", &format!("admin/keys/{id}"), None).await?
        }
    };
    output::json(&answer)?;
    Ok(ExitCode::SUCCESS)
}

/// `agents …`
///
/// # Errors
/// What the service refuses.
pub(crate) async fn agents(settings: &Settings, args: AgentsArgs) -> anyhow::Result<ExitCode> {
    let operator = Operator::new(settings, &args.admin)?;
    let answer = match args.command {
        AgentsCommand::List => operator.call("GET", "admin/agents", None).await?,
        AgentsCommand::Add { id, public_key, operations } => {
            let operations: Vec<_> = operations.iter().map(|operation| operation.as_str()).collect();
            let body = json!({ "id": id.as_str(), "public_key": public_key, "operations": operations });
            operator.call("POST", "admin/agents", Some(&body)).await?
        }
    };
    output::json(&answer)?;
    Ok(ExitCode::SUCCESS)
}

/// A longer password is refused by the service.
const PASSWORD_BYTES_MAX: usize = 1_024;

/// `users …`
///
/// # Errors
/// A password that cannot be read, and what the service refuses.
pub(crate) async fn users(settings: &Settings, args: UsersArgs) -> anyhow::Result<ExitCode> {
    const PATH: &str = "admin/users";
    let operator = Operator::new(settings, &args.admin)?;
    let answer = match args.command {
        UsersCommand::List => operator.call("GET", PATH, None).await?,
        UsersCommand::Add { email, roles, department, password: PasswordArgs { .. } } => {
            let password = read_password(std::io::stdin().lock())?;
            let mut body = json!({ "email": email, "password": password.expose(), "roles": roles });
            if let Some(department) = department {
                body["department"] = department.into();
            }
            operator.call("POST", PATH, Some(&body)).await?
        }
        UsersCommand::Password { email, password: PasswordArgs { .. } } => {
            let password = read_password(std::io::stdin().lock())?;
            let body = json!({ "email": email, "password": password.expose() });
            operator.call("PATCH", PATH, Some(&body)).await?
        }
        UsersCommand::Disable { email } => {
            operator.call("PATCH", PATH, Some(&json!({ "email": email, "disabled": true }))).await?
        }
        UsersCommand::Enable { email } => {
            operator.call("PATCH", PATH, Some(&json!({ "email": email, "disabled": false }))).await?
        }
    };
    output::json(&answer)?;
    Ok(ExitCode::SUCCESS)
}

/// The first line, as it is but for its end.
///
/// # Errors
/// What is no password by its length or its bytes.
pub(crate) fn read_password(input: impl std::io::Read) -> anyhow::Result<Sensitive<String>> {
    if std::io::stdin().is_terminal() {
        output::remark("type the password, then Enter; it shows on the terminal");
    }
    let mut line = Vec::new();
    let limit = u64::try_from(PASSWORD_BYTES_MAX + 3)?;
    std::io::BufReader::new(input.take(limit)).read_until(b'\n', &mut line).context("standard input")?;
    let line = Sensitive::new(line);
    let Ok(text) = std::str::from_utf8(line.expose()) else {
        bail!("the password on standard input is not UTF-8");
    };
    let password = text.strip_suffix('\n').unwrap_or(text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if !(8..=PASSWORD_BYTES_MAX).contains(&password.len()) {
        bail!("the first line of standard input must be a password of 8 to {PASSWORD_BYTES_MAX} bytes");
    }
    Ok(Sensitive::new(password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_first_line_and_its_errors_do_not_show_it() {
        let longest = "p".repeat(PASSWORD_BYTES_MAX);
        for (input, password) in [
            ("correct horse\n", "correct horse"),
            ("correct horse\r\nsecond", "correct horse"),
            (" spaces count ", " spaces count "),
            ("mật khẩu dài", "mật khẩu dài"),
            (longest.as_str(), longest.as_str()),
            (&format!("{longest}\r\n"), longest.as_str()),
        ] {
            assert_eq!(read_password(input.as_bytes()).unwrap().expose(), password);
        }
        let too_long = format!("{longest}p");
        for input in [&b""[..], b"\n", b"secret1\n", b"\nsecret-two", b"secret\xff\xff\xff", too_long.as_bytes()] {
            let error = format!("{:#}", read_password(input).unwrap_err());
            assert!(error.contains("standard input") && !error.contains("secret"), "{error}");
        }
    }
}
