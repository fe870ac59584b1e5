//! Commands for operators, through the admin port.

use std::process::ExitCode;

use anyhow::Context as _;
use ridgeline_client::{Client, ClientOptions};
use ridgeline_domain::Sensitive;
use serde_json::{Value, json};

use crate::args::{AdminArgs, AgentsArgs, AgentsCommand, KeysArgs, KeysCommand};
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

    /// One call.
    ///
    /// # Errors
    /// What the service refuses.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        Ok(self.client.call_json(method, path, Some(("x-admin-key", &self.key)), body).await?)
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
