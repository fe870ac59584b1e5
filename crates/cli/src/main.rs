//! `ridgeline`: the one binary. Reads configuration once, wires the crates together, talks to people.
#![allow(rustdoc::invalid_html_tags, reason = "the doc comments of arguments are help texts, read on a terminal")]

mod agent;
mod agents;
mod agents_file;
mod args;
mod backends;
mod config;
mod connect;
mod demo;
mod deploy;
mod eval;
mod faults;
mod guard;
mod init;
mod inspect;
mod keys;
mod node;
mod operator;
mod output;
mod phone;
mod push;
mod remote;
mod schemas;
mod security;
mod serve;
mod story;
mod synth;
mod telemetry;
mod template;
mod work;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Args, Command, Role, Stream};
use crate::config::Settings;

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            output::problem(&format!("ridgeline: {error:#}"));
            ExitCode::from(2)
        }
    }
}

/// Exit codes: 0 done, 1 the answer is no (or a demo below its floor), 2 an error.
fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = Settings::read(&args)?;
    match args.command {
        Command::Up(_) => reactor()?.block_on(serve::up(settings)),
        Command::Demo(demo) => reactor()?.block_on(demo::run(settings, demo)),
        Command::Gateway(_) => reactor()?.block_on(serve::roles(settings, &[Role::Gateway])),
        Command::Matcher(_) => reactor()?.block_on(serve::roles(settings, &[Role::Matcher])),
        Command::Gallery(_) => reactor()?.block_on(serve::roles(settings, &[Role::Gallery])),
        Command::Merger(_) => reactor()?.block_on(serve::roles(settings, &[Role::Merger])),
        Command::Auth(_) => reactor()?.block_on(serve::roles(settings, &[Role::Auth])),
        Command::Notify(_) => reactor()?.block_on(serve::roles(settings, &[Role::Notify])),
        Command::Run(run) => reactor()?.block_on(serve::roles(settings, &run.roles)),
        Command::Topics(topics) => reactor()?.block_on(deploy::topics(&settings, topics)),
        Command::Migrate(migrate) => reactor()?.block_on(deploy::migrate(&settings, &migrate)),
        Command::Schemas(schemas) => reactor()?.block_on(schemas::run(&settings, &schemas)),
        Command::Init(init) => init::run(&settings, &init),
        Command::Agent(agent) => reactor()?.block_on(agent::run(settings, agent)),
        Command::Synth(synth) => synth::run(&synth),
        Command::Eval(eval) => eval::run(&eval),
        Command::Inspect(inspect) => inspect::run(&inspect),
        Command::Template { command } => template::run(&command),
        Command::Enrol(scan) => reactor()?.block_on(remote::scan(&settings, ridgeline_domain::Operation::Enrol, scan)),
        Command::Verify(scan) => {
            reactor()?.block_on(remote::scan(&settings, ridgeline_domain::Operation::Verify, scan))
        }
        Command::Identify(scan) => {
            reactor()?.block_on(remote::scan(&settings, ridgeline_domain::Operation::Identify, scan))
        }
        Command::Extract(extract) => reactor()?.block_on(remote::extract(&settings, extract)),
        Command::Delete(delete) => reactor()?.block_on(remote::delete(&settings, delete)),
        Command::Decisions(stream) => {
            let Stream::Tail(tail) = stream.command;
            reactor()?.block_on(remote::tail(&settings, ridgeline_client::PublicStream::Decisions, tail))
        }
        Command::Audit(stream) => {
            let Stream::Tail(tail) = stream.command;
            reactor()?.block_on(remote::tail(&settings, ridgeline_client::PublicStream::Audit, tail))
        }
        Command::Keys(keys) => reactor()?.block_on(operator::keys(&settings, keys)),
        Command::Agents(agents) => reactor()?.block_on(operator::agents(&settings, agents)),
        Command::Users(users) => reactor()?.block_on(operator::users(&settings, users)),
        Command::Devices(devices) => reactor()?.block_on(security::devices(&settings, devices)),
        Command::Revoke(revoke) => reactor()?.block_on(security::revoke(&settings, revoke)),
        Command::Evidence(evidence) => reactor()?.block_on(security::evidence(&settings, evidence)),
        Command::Phone(phone) => reactor()?.block_on(phone::run(&settings, phone)),
    }
}

fn reactor() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
