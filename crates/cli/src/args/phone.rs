//! `phone …`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use ridgeline_domain::{ActionId, DeviceName, DeviceType, Language};

/// `phone …`.
///
/// The phone's keys and its session lie in one file that only its owner may read; whoever copies it is that phone. For trying
/// things out, for tests and for tools: a real phone keeps its keys in hardware and asks for a finger before it signs.
///
/// First `register`, for a user of the service (`ridgeline users add`) or with the token of a provider, then `login`, then
/// `watch`, `approve` and `reject`. The session prolongs itself with every command.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct PhoneArgs {
    /// Where the phone keeps its keys and its session
    #[arg(long, global = true, value_name = "FILE", default_value = "phone.json")]
    pub(crate) file: PathBuf,
    /// Address of the service [default: where the phone is registered, or where `up` listens: http://127.0.0.1:8080]
    #[arg(long, global = true, value_name = "URL", env = "RIDGELINE_URL")]
    pub(crate) url: Option<String>,
    /// Address that the service knows itself by (`public_url` of its configuration), where that is another one: proofs of
    /// possession name it
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) public_url: Option<String>,
    #[command(subcommand)]
    pub(crate) command: PhoneCommand,
}

/// What to do with the phone.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum PhoneCommand {
    /// Register the phone for a user; makes its file, or registers the phone of that file again
    Register(RegisterArgs),
    /// Sign in with the phone's key
    Login,
    /// Replace the session's tokens now; other commands do so by themselves
    Refresh,
    /// Wait for confirmations and show each one once, until interrupted
    Watch {
        /// Ask so often; the service lets a user ask 60 times a minute for long, 120 times at once, the web client of the same
        /// user included
        #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
        every: u64,
    },
    /// Show an action and sign for it. What is signed is what was shown, or nothing
    Approve {
        /// Id of the confirmation, as `watch` shows it
        id: ActionId,
        /// The code that is shown where the action was asked for; asked for where it is needed
        #[arg(long, value_name = "NN")]
        code: Option<String>,
        /// Do not ask whether to approve
        #[arg(long)]
        yes: bool,
    },
    /// Refuse an action
    Reject {
        /// Id of the confirmation, as `watch` shows it
        id: ActionId,
        /// Why, for whoever asks for the action; at most 500 characters
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// All devices of the phone's user
    Devices,
}

/// Options of `phone register`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct RegisterArgs {
    /// File with a web token of the user, readable by its owner only
    #[arg(long, value_name = "FILE", required_unless_present = "email", conflicts_with = "email")]
    pub(crate) web_token_file: Option<PathBuf>,
    /// Sign a user of the service's own in first, with the password from standard input
    #[arg(long, requires = "password_stdin")]
    pub(crate) email: Option<String>,
    /// Read the user's password from standard input: its first line
    #[arg(long, requires = "email")]
    pub(crate) password_stdin: bool,
    /// What the user's list of devices calls it
    #[arg(long, value_name = "NAME", default_value = "Software phone")]
    pub(crate) device_name: DeviceName,
    /// What it counts as: mobile, tablet or desktop
    #[arg(long = "type", value_name = "TYPE", default_value = "mobile")]
    pub(crate) device_type: DeviceType,
    /// Language of its notifications: vi or en
    #[arg(long, value_name = "LANGUAGE")]
    pub(crate) language: Option<Language>,
}
