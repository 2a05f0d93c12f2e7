//! `redoubt bucket`: what holds objects. `default` is there from the start.

mod create;
mod drop;
mod list;

use super::Common;
use super::exit::Failure;

/// Verbs on buckets.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// Makes a bucket
    Create(create::Arguments),
    /// Removes a bucket
    Drop(drop::Arguments),
    /// Lists the buckets
    List,
}

/// Runs a verb.
pub async fn run(common: &Common, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Create(arguments) => create::run(common, arguments).await,
        Verb::Drop(arguments) => drop::run(common, arguments).await,
        Verb::List => list::run(common).await,
    }
}
