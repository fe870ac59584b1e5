//! What makes a cluster ready for this version.

use std::process::ExitCode;

use anyhow::bail;

use crate::args::{MigrateArgs, TopicsArgs};
use crate::config::Settings;

pub(crate) async fn topics(_: &Settings, _: TopicsArgs) -> anyhow::Result<ExitCode> {
    bail!("this build has no Kafka adapter yet")
}

pub(crate) async fn migrate(_: &Settings, _: &MigrateArgs) -> anyhow::Result<ExitCode> {
    bail!("this build has no adapter of a store yet")
}
