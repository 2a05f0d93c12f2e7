//! `redoubt bench`: the cluster beside this machine's own limits, in one run.
//!
//! Figures are of closed loops: each client begins its next operation when the one before has ended. Everything is durable when it is
//! acknowledged. The machine may be busy with other things: ratios in one run hold, absolute figures of different days do not compare.

mod io;
mod kv;
mod load;
mod machine;
mod mix;
mod net;
mod report;
mod s3;
mod server_cpu;

use super::Common;
use super::exit::Failure;

/// Most clients of one run.
const CLIENTS_MAX: usize = 1024;

/// Arguments of `bench`: a load that a file describes, or one of a kind.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct Arguments {
    /// A load that this file describes (docs/bench.md); what it reads is compared with what it wrote
    #[arg(long, value_name = "FILE")]
    file: Option<std::path::PathBuf>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

impl Arguments {
    /// Whether object data is moved.
    pub fn moves_objects(&self) -> bool {
        self.file.is_some() || matches!(self.verb, Some(Verb::Io(_) | Verb::S3(_)))
    }
}

/// What is measured.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// Objects: throughput and latency of puts and gets
    Io(io::Arguments),
    /// Keys and values: transactions and reads
    Kv(kv::Arguments),
    /// S3: puts, gets and listings, of the local cluster or of another server
    S3(s3::Arguments),
    /// The fabric between two processes of this machine
    Net(net::Arguments),
}

/// Runs a verb.
pub async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    if let Some(file) = &arguments.file {
        return mix::run(common, file).await;
    }
    let Some(verb) = arguments.verb else { return Err(Failure::usage("say --file FILE, or one of io, kv, s3, net")) };
    match verb {
        Verb::Io(arguments) => io::run(common, arguments).await,
        Verb::Kv(arguments) => kv::run(common, arguments).await,
        Verb::S3(arguments) => s3::run(common, arguments).await,
        Verb::Net(arguments) => net::run(common, arguments).await,
    }
}

/// Longest that one may go on: a day.
const SECONDS_MAX: f64 = 86_400.0;

/// How long a load goes on.
#[derive(clap::Args, Clone, Debug)]
pub struct Length {
    /// How many clients at once
    #[arg(long, default_value_t = 8, value_parser = clients)]
    clients: usize,
    /// How long each load goes on, unless a number of operations is given
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS", value_parser = seconds)]
    seconds: f64,
    /// How many operations of each kind
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    operations: Option<u64>,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if seconds > 0.0 && seconds <= SECONDS_MAX => Ok(seconds),
        _ => Err(format!("say more than 0 and at most {SECONDS_MAX}")),
    }
}

fn clients(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=CLIENTS_MAX).contains(&count) => Ok(count),
        _ => Err(format!("say 1 to {CLIENTS_MAX}")),
    }
}
