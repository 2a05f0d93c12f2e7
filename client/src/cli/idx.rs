//! `redoubt idx`: indices of keys and values.

mod apply;
mod create;
mod del;
mod drop;
mod get;
mod list;
mod put;
mod scan;

use client::Condition;

use super::Common;
use super::exit::Failure;
use super::name::{Name, parser};

/// Verbs on indices.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// Makes an index
    Create(create::Arguments),
    /// Removes an index with all its keys
    Drop(drop::Arguments),
    /// Lists the indices
    List,
    /// Sets a key
    Put(put::Arguments),
    /// Prints the value of a key
    Get(get::Arguments),
    /// Removes a key
    Del(del::Arguments),
    /// Sets and removes many keys, all of them or none
    Apply(apply::Arguments),
    /// Prints keys and values in the order of the keys
    Scan(scan::Arguments),
}

/// A key of an index.
#[derive(clap::Args)]
pub struct Place {
    /// The index
    index: String,
    /// The key
    #[arg(value_parser = parser())]
    key: Name,
}

impl Place {
    fn key(&self) -> &[u8] {
        self.key.as_bytes()
    }
}

/// Runs a verb.
pub async fn run(common: &Common, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Create(arguments) => create::run(common, arguments).await,
        Verb::Drop(arguments) => drop::run(common, arguments).await,
        Verb::List => list::run(common).await,
        Verb::Put(arguments) => put::run(common, arguments).await,
        Verb::Get(arguments) => get::run(common, arguments).await,
        Verb::Del(arguments) => del::run(common, arguments).await,
        Verb::Apply(arguments) => apply::run(common, arguments).await,
        Verb::Scan(arguments) => scan::run(common, arguments).await,
    }
}

fn if_version(version: Option<u64>) -> Option<Condition> {
    version.map(|version| Condition::Version(types::Seq(version)))
}
