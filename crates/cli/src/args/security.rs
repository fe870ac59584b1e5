//! `devices …`, `revoke`, `evidence …`.

use std::path::PathBuf;

use clap::{ArgGroup, Args as ClapArgs, Subcommand};
use ridgeline_domain::{ActionId, DeviceId, FamilyId};

use super::AdminArgs;

/// `devices …`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct DevicesArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    #[command(subcommand)]
    pub(crate) command: DevicesCommand,
}

/// What to do with registered devices.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum DevicesCommand {
    /// Registered devices, of one user or of all, without their keys
    List {
        /// Only of this user: e-mail address, `sub` of the user's tokens, or `issuer|sub` of a provider's
        #[arg(long, value_name = "SUB")]
        user: Option<String>,
        /// Removed devices too
        #[arg(long)]
        removed: bool,
    },
}

/// `revoke`.
#[derive(Debug, Clone, ClapArgs)]
#[command(group(ArgGroup::new("what").required(true).args(["user", "device", "family", "all_before"])))]
pub(crate) struct RevokeArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// All tokens of a user that were issued up to now, and the sessions behind them: e-mail address, `sub` of the tokens, or
    /// `issuer|sub` of a provider's user
    #[arg(long, value_name = "SUB")]
    pub(crate) user: Option<String>,
    /// A device and all its tokens: it must be registered again
    #[arg(long, value_name = "ID")]
    pub(crate) device: Option<DeviceId>,
    /// One session: the claim `token_family` of its refresh token
    #[arg(long, value_name = "ID")]
    pub(crate) family: Option<FamilyId>,
    /// Everybody's tokens that were issued before a time (RFC 3339, or `now`): for emergencies
    #[arg(long, value_name = "TIME")]
    pub(crate) all_before: Option<String>,
}

/// `evidence …`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct EvidenceArgs {
    #[command(subcommand)]
    pub(crate) command: EvidenceCommand,
}

/// What to do with evidence.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum EvidenceCommand {
    /// Write the proof of an action as one signed file (admin port)
    Export {
        /// Id of the confirmation
        id: ActionId,
        /// Where to; the service's keys go beside it, into FILE.jwks.json. Without it to standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Check a file: the service's signature, that what was signed is what was shown, and every approval. Needs no service;
    /// exit code 0 only if it proves an approval
    Verify {
        /// What `evidence export` wrote
        file: PathBuf,
        /// The service's keys: what /.well-known/jwks.json answered when the file was made
        #[arg(long, value_name = "FILE")]
        jwks: PathBuf,
    },
}
