//! `ridgeline init`: the keys of a deployment, made once and before anything starts.

use std::process::ExitCode;

use anyhow::Context as _;
use ridgeline_domain::{AgentId, Operation};
use ridgeline_runtime::SystemEntropy;

use crate::agents::Agents;
use crate::args::InitArgs;
use crate::config::Settings;
use crate::{keys, output};

/// Makes what is missing and says where it is. What is there stays as it is.
///
/// # Errors
/// A file that cannot be written, or a gateway that the agents' file knows by another key.
pub(crate) fn run(settings: &Settings, args: &InitArgs) -> anyhow::Result<ExitCode> {
    let (dir, entropy) = (&settings.data_dir, &SystemEntropy);
    keys::private_dir(dir)?;
    let ring_file = settings.key_ring();
    let ring = keys::ring(&ring_file, entropy)?;
    keys::publish_sealing_key(dir, &ring.sealing_key())?;
    keys::admin_key(dir, entropy)?;
    let say = |what: &str, path: &std::path::Path| output::line(&format!("{what:15}{}", path.display()));
    say("key ring", &ring_file);
    say("sealing key", &dir.join(keys::name::SEALING_KEY));
    say("admin key", &dir.join(keys::name::ADMIN_KEY));
    if let Some(name) = &args.gateway {
        let id: AgentId = format!("gateway:{name}").parse().with_context(|| format!("--gateway {name}"))?;
        let path = dir.join(keys::name::GATEWAY_KEY);
        let key = keys::signing_key(&path, entropy)?;
        let agents = Agents::open(settings.agents_file())?;
        agents.publish(&id, &key.verifying_key(), Operation::ALL)?;
        say("gateway key", &path);
        say("agents file", &settings.agents_file());
    }
    output::line("Every process needs the key ring and the agents file; only a gateway its own key and the admin key.");
    Ok(ExitCode::SUCCESS)
}
