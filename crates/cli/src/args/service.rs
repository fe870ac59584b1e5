//! Options of the processes of a service, and of what makes a deployment ready for them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use ridgeline_domain::Operation;

use super::operation;

/// Options of a service.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct ServeArgs {
    /// Address of the HTTP interface [default: 127.0.0.1:8080]; port 0 takes any free one
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Address of metrics and of the operators' interface [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin_listen: Option<SocketAddr>,
    /// Listen without TLS on an address that others can reach. Biometrics and API keys then travel readable for everybody
    /// on the way: only behind something that adds TLS
    #[arg(long)]
    pub(crate) danger_plain_http: bool,
    /// Also watch this folder: every image that appears there is a scan
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// What images of the folder ask for [default: verify]
    #[arg(long, value_name = "OPERATION", requires = "folder", value_parser = operation)]
    pub(crate) folder_operation: Option<Operation>,
    /// Resolution of images of the folder that do not carry it
    #[arg(long, value_name = "N", requires = "folder", value_parser = clap::value_parser!(u16).range(250..=1200))]
    pub(crate) folder_dpi: Option<u16>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// A log and a store outside this process.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct ClusterArgs {
    /// Kafka brokers, comma-separated; without them log and store live in the data directory
    #[arg(long, value_name = "HOST:PORT", env = "RIDGELINE_KAFKA")]
    pub(crate) kafka: Option<String>,
    /// Nodes of Cassandra or ScyllaDB, comma-separated
    #[arg(long, value_name = "HOST:PORT", env = "RIDGELINE_CQL")]
    pub(crate) cql: Option<String>,
    /// What stands before the names of topics and groups [default: nothing]
    #[arg(long, value_name = "TEXT", env = "RIDGELINE_TOPIC_PREFIX")]
    pub(crate) topic_prefix: Option<String>,
    /// Keyspace of the tables [default: ridgeline]
    #[arg(long, value_name = "NAME", env = "RIDGELINE_KEYSPACE")]
    pub(crate) keyspace: Option<String>,
}

/// Options of one role.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct RoleArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

/// Options of several roles in one process.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct RunArgs {
    /// Which
    #[arg(required = true, value_name = "ROLE")]
    pub(crate) roles: Vec<Role>,
    #[command(flatten)]
    pub(crate) role: RoleArgs,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Role {
    /// HTTP.
    Gateway,
    /// Enrols, verifies, extracts, starts searches.
    Matcher,
    /// Searches.
    Gallery,
    /// Joins what was found.
    Merger,
    /// Devices, tokens, confirmations.
    Auth,
    /// Tells phones and initiating clients.
    Notify,
}

impl Role {
    /// The word on the command line, in logs and metrics.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Matcher => "matcher",
            Self::Gallery => "gallery",
            Self::Merger => "merger",
            Self::Auth => "auth",
            Self::Notify => "notify",
        }
    }
}

/// Options of `topics`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct TopicsArgs {
    #[command(subcommand)]
    pub(crate) command: TopicsCommand,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// What to do with topics.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum TopicsCommand {
    /// Show what `apply` would do; exit code 1 if there is something
    Plan(AclArgs),
    /// Make missing topics and access rules, change settings that differ. Never changes a number of partitions
    Apply(AclArgs),
    /// Copy a topic into one with another number of partitions, key by key in order; goes on where it was interrupted
    Migrate {
        /// Full name of the topic to read
        from: String,
        /// Full name of the topic to fill
        to: String,
        /// Partitions of the new topic
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        partitions: u32,
    },
}

/// Who the roles are to Kafka.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct AclArgs {
    /// Principal of a role, as `matcher=User:matcher`; several allowed. Without any, access rules are left out
    #[arg(long, value_name = "ROLE=PRINCIPAL")]
    pub(crate) principal: Vec<String>,
}

/// Options of `schemas`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct SchemasArgs {
    #[command(subcommand)]
    pub(crate) command: SchemasCommand,
    /// Schema registry with Confluent's interface
    #[arg(long, global = true, value_name = "URL", env = "RIDGELINE_REGISTRY")]
    pub(crate) registry: Option<String>,
    /// What stands before the names of topics [default: that of the configuration]
    #[arg(long, global = true, value_name = "TEXT", env = "RIDGELINE_TOPIC_PREFIX")]
    pub(crate) topic_prefix: Option<String>,
}

/// What to do with schemas.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum SchemasCommand {
    /// Show how each schema stands in the registry; exit code 1 if one differs. Changes nothing
    Check,
    /// Register every schema and set the compatibility of its subject; nothing is registered if one is refused
    Register,
}

/// Options of `migrate`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct MigrateArgs {
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// Options of `init`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct InitArgs {
    /// Also make the key of the gateway of this name and write it into the agents' file
    #[arg(long, value_name = "NAME")]
    pub(crate) gateway: Option<String>,
}
