//! `cluster-tests bench`: figures of clusters of real processes, with what they are held to.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use cluster_tests::process::{Clients, Cluster};
use cluster_tests::recovery::{self, Figure, HEADS};

use super::Output;

/// How long a client tries.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What is measured.
#[derive(Subcommand)]
pub enum Bench {
    /// From a kill to the first acknowledged write, and how fast missed records are redone while clients go on.
    Recovery(Recovery),
}

/// How it is measured.
#[derive(Args)]
pub struct Recovery {
    /// Records that a node misses; 0 leaves that part out.
    #[arg(long, default_value_t = 100_000)]
    records: usize,
    /// Form of the result: a table, or one line of JSON.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

impl Bench {
    /// Does it.
    pub fn run(self) -> Result<ExitCode> {
        match self {
            Self::Recovery(recovery) => recovery.run(),
        }
    }
}

impl Recovery {
    fn run(self) -> Result<ExitCode> {
        let cluster = Cluster::up(3, &[])?;
        let clients = Clients::connect(&cluster, TIMEOUT)?;
        let mut figures = recovery::first_writes(&cluster, &clients)?;
        if self.records > 0 {
            figures.extend(recovery::catch_up(&cluster, &clients, self.records)?);
        }
        match self.output {
            Output::Text => {
                println!("{HEADS}");
                figures.iter().for_each(|figure| println!("{}", figure.row()));
            }
            Output::Json => println!("{}", serde_json::to_string(&figures)?),
        }
        Ok(ExitCode::from(u8::from(!figures.iter().all(Figure::is_within_its_limit))))
    }
}
