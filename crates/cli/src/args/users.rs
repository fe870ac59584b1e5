//! `users …`.

use clap::{Args as ClapArgs, Subcommand};

use super::AdminArgs;

/// `users …`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct UsersArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    #[command(subcommand)]
    pub(crate) command: UsersCommand,
}

/// What to do with the service's own users.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum UsersCommand {
    /// All users, without their passwords
    List,
    /// Let somebody sign in with e-mail and password
    Add {
        /// E-mail address, in any case
        email: String,
        /// What the user may do, for instance approver; several allowed
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// For people
        #[arg(long, value_name = "NAME")]
        department: Option<String>,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Give a user another password
    Password {
        /// E-mail address, in any case
        email: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Let a user sign in no more; tokens that are out live to their end
    Disable {
        /// E-mail address, in any case
        email: String,
    },
    /// Let a disabled user sign in again
    Enable {
        /// E-mail address, in any case
        email: String,
    },
}

/// Where a password comes from: never from the command line, which others on the machine can read.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct PasswordArgs {
    /// Read the password, 8 to 1024 bytes, from standard input: its first line
    #[arg(long, required = true)]
    pub(crate) password_stdin: bool,
}
