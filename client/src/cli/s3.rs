//! `redoubt s3`: who may use S3, and how much of it.

mod bucket;
mod quota;
mod target;
mod user;

use std::path::PathBuf;

use client::ClusterKey;

use super::Common;
use super::exit::Failure;

/// Verbs on S3.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// Users and their keys
    #[command(subcommand)]
    User(user::Verb),
    /// Buckets: whose they are, and how much they may hold
    #[command(subcommand)]
    Bucket(bucket::Verb),
    /// Whom events of buckets may be told to
    #[command(subcommand)]
    Target(target::Verb),
}

/// Where the cluster's key is.
#[derive(clap::Args)]
pub struct KeyFile {
    /// The file with the cluster's key; that of the local cluster where nothing is said
    #[arg(long, env = "REDOUBT_S3_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl KeyFile {
    fn load(&self, common: &Common) -> Result<ClusterKey, Failure> {
        let path = self.key_file.clone().unwrap_or_else(|| common.dir.join(super::dev::cluster::KEY_FILE));
        Ok(ClusterKey::load(&path)?)
    }
}

/// Runs a verb.
pub async fn run(common: &Common, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::User(verb) => user::run(common, verb).await,
        Verb::Bucket(verb) => bucket::run(common, verb).await,
        Verb::Target(verb) => target::run(common, verb).await,
    }
}
