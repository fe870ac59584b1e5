//! The command line.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use ridgeline_domain::{AgentId, Operation, Permission, Position, ReaderId, SubjectId};

mod engine;
mod phone;
mod security;
mod service;
mod template;
mod users;

pub(crate) use engine::{EvalArgs, InspectArgs};
pub(crate) use phone::{PhoneArgs, PhoneCommand, RegisterArgs};
pub(crate) use security::{DevicesArgs, DevicesCommand, EvidenceArgs, EvidenceCommand, RevokeArgs};
pub(crate) use service::{
    ClusterArgs, InitArgs, MigrateArgs, Role, RoleArgs, RunArgs, SchemasArgs, SchemasCommand, ServeArgs, TopicsArgs,
    TopicsCommand,
};
pub(crate) use template::{ConvertArgs, MergeArgs, TemplateCommand};
pub(crate) use users::{PasswordArgs, UsersArgs, UsersCommand};

/// Event-driven biometric authentication: fingerprints in, decisions and audit events out.
///
/// `ridgeline up` starts everything in one process; `ridgeline demo` does the same and shows it at work. The other commands
/// are tools around a running service: they find its API key in the data directory.
#[derive(Debug, Parser)]
#[command(name = "ridgeline", version, propagate_version = true, max_term_width = 110)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, ClapArgs)]
pub(crate) struct Global {
    /// Where log, store and keys live [default: ./ridgeline-data]
    #[arg(long, global = true, value_name = "DIR", env = "RIDGELINE_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Configuration file (TOML); what the command line says comes first
    #[arg(long, global = true, value_name = "FILE", env = "RIDGELINE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Name of this process among the others of a deployment; keep it over restarts
    #[arg(long, global = true, value_name = "NAME", env = "RIDGELINE_NAME")]
    pub(crate) name: Option<String>,
    /// Log lines on standard error as text or as JSON [default: text]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// What is logged: error, warn, info, debug, trace, or directives as `info,ridgeline_gateway=debug`
    #[arg(long, global = true, value_name = "LEVEL", env = "RIDGELINE_LOG")]
    pub(crate) log_level: Option<String>,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the service: log, store, workers, HTTP interface and readers in one process
    Up(ServeArgs),
    /// Start the service and tell a story with synthetic (or your) fingerprints, then stay up
    Demo(DemoArgs),
    /// Run the HTTP layer alone, over Kafka and Cassandra or ScyllaDB
    Gateway(RoleArgs),
    /// Run a matcher: enrols, verifies, extracts, starts searches
    Matcher(RoleArgs),
    /// Run a gallery shard: searches the partitions of the gallery it owns
    Gallery(RoleArgs),
    /// Run a merger: joins what the shards found
    Merger(RoleArgs),
    /// Run an auth worker: registers devices, signs them in, signs tokens
    Auth(RoleArgs),
    /// Run a notify worker: tells phones that an action waits, and initiating clients that it is decided
    Notify(RoleArgs),
    /// Run several roles in one process
    Run(RunArgs),
    /// Run a capture agent that hands its scans to a running service, or to Kafka
    Agent(AgentArgs),
    /// Compare the topics of a Kafka cluster with those this version needs, and make the difference
    Topics(TopicsArgs),
    /// Bring the tables of the store to this version
    Migrate(MigrateArgs),
    /// Compare the schemas of this version with a schema registry, or register them there
    Schemas(SchemasArgs),
    /// Make the keys of a deployment, and tell the others about a gateway
    Init(InitArgs),
    /// Write synthetic fingerprints
    Synth(SynthArgs),
    /// Measure the engine on sets of images: error rates, and a report of biometric data
    Eval(EvalArgs),
    /// Show what the engine sees in an image, or what a template holds
    Inspect(InspectArgs),
    /// Convert templates to and between the formats of other systems, and merge them
    Template {
        /// What to do
        #[command(subcommand)]
        command: TemplateCommand,
    },
    /// Enrol a subject from images
    Enrol(ScanArgs),
    /// Compare images with one subject (1:1)
    Verify(ScanArgs),
    /// Search everybody for an image (1:N)
    Identify(ScanArgs),
    /// Turn an image into a sealed probe template
    Extract(ExtractArgs),
    /// Forget a subject
    Delete(DeleteArgs),
    /// Follow the decisions of a running service
    Decisions(StreamArgs),
    /// Follow the audit events of a running service
    Audit(StreamArgs),
    /// List, make and revoke API keys (admin port)
    Keys(KeysArgs),
    /// List and register capture agents (admin port)
    Agents(AgentsArgs),
    /// List, add, disable and enable the service's own users, and set their passwords (admin port)
    Users(UsersArgs),
    /// List registered devices (admin port)
    Devices(DevicesArgs),
    /// End tokens before their time: of a user, a device, a session, or everybody (admin port)
    Revoke(RevokeArgs),
    /// Export and check the proof that an action was approved
    Evidence(EvidenceArgs),
    /// A phone in software: register it, sign in, and approve or reject what waits for its user
    Phone(PhoneArgs),
}

/// Options of the demo.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    /// What to show: fingers that are enrolled and found again, or a phone that signs in and approves a payment
    #[arg(long, value_name = "STORY", default_value = "fingers", conflicts_with_all = ["scans", "fingers", "seed"])]
    pub(crate) story: Story,
    /// Use these images instead of synthetic ones: `<finger>_<impression>.<ext>`
    #[arg(long, value_name = "DIR")]
    pub(crate) scans: Option<PathBuf>,
    /// Resolution of those images, unless they carry it
    #[arg(long, value_name = "N", requires = "scans", value_parser = clap::value_parser!(u16).range(250..=1200))]
    pub(crate) dpi: Option<u16>,
    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// End after the story, with exit code 1 if synthetic fingers fell below the floor. Works in a temporary directory
    /// unless --data-dir is given
    #[arg(long)]
    pub(crate) exit: bool,
    /// Number of synthetic fingers, the unknown one included
    #[arg(long, value_name = "N", default_value_t = 20, hide = true, value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub(crate) fingers: u32,
    /// Seed of the synthetic fingers
    #[arg(long, value_name = "N", default_value_t = 1, hide = true)]
    pub(crate) seed: u64,
}

/// What a demo shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Story {
    /// Enrol, verify, identify.
    Fingers,
    /// Register, sign in, approve, refresh, and a theft.
    Auth,
}

/// Options of a capture agent.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct AgentArgs {
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
    /// Watch this folder: every image that appears there is a scan. `<subject>.png` or `<subject>.<anything>.png`; taken
    /// images move to `done/`, others to `refused/` with the reason
    #[arg(long, value_name = "DIR", required_unless_present = "simulate")]
    pub(crate) folder: Option<PathBuf>,
    /// Serve the images of this folder once, as if fingers were placed
    #[arg(long, value_name = "DIR", conflicts_with = "folder")]
    pub(crate) simulate: Option<PathBuf>,
    /// Time between two simulated touches in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    pub(crate) pace_ms: u64,
    /// What the images ask for
    #[arg(long, default_value = "verify", value_parser = operation)]
    pub(crate) operation: Operation,
    /// Resolution of images that do not carry it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(250..=1200))]
    pub(crate) dpi: Option<u16>,
    /// Which finger, for instance right_index
    #[arg(long, default_value = "unknown")]
    pub(crate) position: Position,
    /// Name of this agent
    #[arg(long, default_value = "agent-1")]
    pub(crate) id: AgentId,
    /// Name of its reader [default: folder or simulated]
    #[arg(long)]
    pub(crate) reader: Option<ReaderId>,
    /// Where the agent keeps its key and its spool [default: <data-dir>/agents/<id>]
    #[arg(long, value_name = "DIR")]
    pub(crate) agent_dir: Option<PathBuf>,
    /// The service's public key that samples are sealed to [default: <data-dir>/sealing-key]
    #[arg(long, value_name = "FILE")]
    pub(crate) sealing_key: Option<PathBuf>,
    /// Register this agent for its operation through the admin port first
    #[arg(long)]
    pub(crate) register: bool,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Delete images of the folder once they are spooled instead of moving them to `done/`
    #[arg(long)]
    pub(crate) delete_done: bool,
}

/// Options of `synth`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct SynthArgs {
    /// Number of fingers
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) fingers: u32,
    /// Impressions of each finger
    #[arg(long, value_name = "M", default_value_t = 4)]
    pub(crate) impressions: u32,
    /// Where to write `<finger>_<impression>.png`, counted from 1, 500 dpi
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Equal seeds give equal files
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Write templates of the engine (`.template`) instead of images: made directly, for large galleries
    #[arg(long)]
    pub(crate) templates: bool,
    /// Threads [default: one for each processor]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
}

/// How to reach a service.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct RemoteArgs {
    /// Address of the service [default: where `up` listens]
    #[arg(long, value_name = "URL", env = "RIDGELINE_URL")]
    pub(crate) url: Option<String>,
    /// API key [default: what stands in <data-dir>/api-key]
    #[arg(long, value_name = "KEY", env = "RIDGELINE_API_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,
}

/// Options of enrol, verify and identify.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct ScanArgs {
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
    /// Images, minutiae records (`*.fmr`, `*.iso`, `*.ansi`), or sealed templates (`*.sealed`)
    #[arg(required = true, num_args = 1..=10, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Whom it is about; required for enrol and verify
    #[arg(long)]
    pub(crate) subject: Option<SubjectId>,
    /// Resolution of images that do not carry it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(250..=1200))]
    pub(crate) dpi: Option<u16>,
    /// Which finger, for instance right_index
    #[arg(long, default_value = "unknown")]
    pub(crate) position: Position,
    /// Hold the images to the recommended quality
    #[arg(long)]
    pub(crate) strict: bool,
    /// How long to wait for the decision
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) wait: u64,
    /// Print the whole decision as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `extract`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct ExtractArgs {
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
    /// The image
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Where to write the sealed template; single use, valid for a minute
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Resolution, unless the image carries it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(250..=1200))]
    pub(crate) dpi: Option<u16>,
}

/// Options of `delete`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
    /// Whom to forget
    pub(crate) subject: SubjectId,
}

/// `audit tail`, `decisions tail`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct StreamArgs {
    #[command(subcommand)]
    pub(crate) command: Stream,
}

/// What to do with a stream.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Stream {
    /// Print each event as one line of JSON until interrupted
    Tail(TailArgs),
}

/// Options of a tail.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct TailArgs {
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
    /// Begin with the oldest event that is kept
    #[arg(long)]
    pub(crate) from_beginning: bool,
    /// End after so many events
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
}

/// How to reach the admin port.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct AdminArgs {
    /// Address of the admin port [default: where `up` listens]
    #[arg(long, value_name = "URL", env = "RIDGELINE_ADMIN_URL")]
    pub(crate) admin_url: Option<String>,
    /// File with the admin key [default: <data-dir>/admin-key]
    #[arg(long, value_name = "FILE")]
    pub(crate) admin_key_file: Option<PathBuf>,
}

/// `keys …`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct KeysArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
}

/// What to do with API keys.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum KeysCommand {
    /// All keys, without their secrets
    List,
    /// Make a key; its secret is shown this once
    Create {
        /// For people
        name: String,
        /// What it may do, for instance biometric:verify; several allowed
        #[arg(required = true)]
        permissions: Vec<Permission>,
    },
    /// Refuse a key from now on
    Revoke {
        /// Its public id
        id: String,
    },
}

/// `agents …`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct AgentsArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    #[command(subcommand)]
    pub(crate) command: AgentsCommand,
}

/// What to do with agents.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum AgentsCommand {
    /// All agents with their keys and operations
    List,
    /// Register an agent
    Add {
        /// Its name
        id: AgentId,
        /// Its public key, as `ridgeline agent` prints it
        public_key: String,
        /// What it may ask for; several allowed
        #[arg(required = true, value_parser = operation)]
        operations: Vec<Operation>,
    },
}

fn operation(text: &str) -> Result<Operation, String> {
    // The other spelling is as common.
    let text = if text == "enroll" { "enrol" } else { text };
    text.parse().map_err(|error: ridgeline_domain::UnknownWord| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_consistent_and_every_command_explains_itself() {
        let command = Args::command();
        command.clone().debug_assert();
        for sub in command.get_subcommands() {
            assert!(sub.get_about().is_some(), "{}", sub.get_name());
            for argument in sub.get_arguments().filter(|argument| !argument.is_hide_set()) {
                assert!(argument.get_help().is_some(), "{} {}", sub.get_name(), argument.get_id());
            }
        }
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for line in [["ridgeline", "--data-dir", "x", "up"], ["ridgeline", "up", "--data-dir", "x"]] {
            let args = Args::try_parse_from(line).unwrap();
            assert_eq!(args.global.data_dir, Some(PathBuf::from("x")));
        }
    }

    #[test]
    fn what_cannot_work_is_refused_before_anything_starts() {
        for line in [
            &["ridgeline", "enrol"][..],
            &["ridgeline", "enrol", "a.png", "--subject", "a/b"],
            &["ridgeline", "enrol", "a.png", "--dpi", "100"],
            &["ridgeline", "enrol", "a.png", "--position", "big_toe"],
            &["ridgeline", "up", "--listen", "8080"],
            &["ridgeline", "up", "--folder", "x", "--folder-operation", "purge"],
            &["ridgeline", "demo", "--dpi", "500"],
            &["ridgeline", "agent"],
            &["ridgeline", "keys", "create", "x", "biometric:everything"],
            &["ridgeline", "phone", "register"],
            &["ridgeline", "phone", "register", "--email", "a@b"],
            &["ridgeline", "phone", "register", "--email", "a@b", "--password-stdin", "--web-token-file", "t"],
            &["ridgeline", "phone", "register", "--web-token-file", "t", "--type", "watch"],
            &["ridgeline", "phone", "register", "--web-token-file", "t", "--device-name", "a\nb"],
            &["ridgeline", "phone", "approve", "../devices"],
            &["ridgeline", "phone", "watch", "--every", "0"],
        ] {
            assert!(Args::try_parse_from(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn the_commands_of_the_readme_parse() {
        for line in [
            "ridgeline demo --exit --json",
            "ridgeline demo --scans d --dpi 500 --exit",
            "ridgeline synth --fingers 3 --impressions 2 --out d --seed 7 --templates",
            "ridgeline eval --scans d --dpi 500 --set s --out o",
            "ridgeline enrol a.png b.png --subject alice --dpi 500",
            "ridgeline identify a.png --url http://127.0.0.1:1 --json",
            "ridgeline audit tail",
            "ridgeline decisions tail --from-beginning --count 3",
            "ridgeline agent --folder in --operation enroll --register",
            "ridgeline gateway --config f --name gw-1",
            "ridgeline run matcher merger --config f",
            "ridgeline topics plan --principal matcher=User:m --config f",
            "ridgeline topics migrate scans scans.v2 --partitions 96",
            "ridgeline schemas check --registry http://r:8081 --topic-prefix site.",
            "ridgeline schemas register --config f",
            "ridgeline migrate --dry-run --cql c:9042 --kafka k:9092",
            "ridgeline init --gateway gw-1",
            "ridgeline phone register --email linh@example.vn --password-stdin",
            "ridgeline phone register --web-token-file t --device-name An --type tablet --language vi --file p",
            "ridgeline phone login --url http://127.0.0.1:1",
            "ridgeline phone --file p watch --every 1",
            "ridgeline phone approve 000102030405060708090a0b0c0d0e0f --code 42 --yes",
            "ridgeline phone reject 000102030405060708090a0b0c0d0e0f --reason no",
        ] {
            assert!(Args::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
    }
}
