//! `redoubt bench`: the cluster beside this machine's own limits, in one run.

use super::Common;
use super::exit::Failure;

/// What is measured.
#[derive(clap::Subcommand)]
pub enum Verb {}

/// Runs a verb.
pub async fn run(_common: &Common, verb: Verb) -> Result<(), Failure> {
    match verb {}
}
