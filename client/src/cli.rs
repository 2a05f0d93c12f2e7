//! The command line: what all verbs share. One verb, one file.

mod bench;
mod bucket;
mod connect;
mod dev;
mod exit;
mod idx;
mod interrupt;
mod name;
mod obj;
mod output;
mod plan;
mod pool;
mod progress;
mod s3;
mod size;
mod time;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use ha_api::tls::Tls;
use tokio::runtime::Builder;

use exit::{Exit, Failure};
use output::Format;

/// Objects, indices and local clusters of Redoubt.
#[derive(Parser)]
#[command(name = "redoubt", version, after_help = "Exit codes: docs/exit-codes.md")]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb takes.
#[derive(clap::Args, Clone, Debug)]
pub struct Common {
    /// The local cluster's directory
    #[arg(long, global = true, env = "REDOUBT_DIR", default_value = "./redoubt-dev", value_name = "DIR")]
    pub dir: PathBuf,
    /// HA daemons to ask instead, as HOST:PORT[,HOST:PORT...]
    #[arg(long, global = true, env = "REDOUBT_HA", value_delimiter = ',', value_name = "ADDRESSES")]
    pub ha: Vec<String>,
    /// A directory with the certificate that HA is shown: ca.pem, certificate.pem, key.pem
    #[arg(long, global = true, env = "REDOUBT_TLS", value_name = "DIR")]
    pub tls: Option<PathBuf>,
    /// How to print results
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub output: Format,
    /// How long one step is tried before it is an error
    #[arg(long, global = true, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    #[arg(skip)]
    read: Read,
}

/// Whom a read is asked of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Read {
    /// The primary of the key's group.
    #[default]
    Primary,
    /// Any of its members that is up to date, by the primary's word: the primary has less to do.
    Nearest,
}

impl From<Read> for client::ReadFrom {
    fn from(read: Read) -> Self {
        match read {
            Read::Primary => Self::Primary,
            Read::Nearest => Self::Nearest,
        }
    }
}

/// For verbs that read.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Reading {
    /// Whom to ask; the answer is as new either way
    #[arg(long, value_enum, default_value_t, value_name = "WHOM")]
    read: Read,
}

impl Common {
    /// The same, for a verb that reads so.
    pub fn reading(&self, reading: Reading) -> Self {
        Self { read: reading.read, ..self.clone() }
    }

    /// How long one step is tried.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// The certificate that HA is shown.
    pub fn tls(&self) -> Result<Option<Tls>, Failure> {
        let tls = self.tls.as_deref().map(Tls::in_dir);
        tls.map_or(Ok(None), |tls| tls.check().map(|()| Some(tls)).map_err(Failure::usage))
    }
}

#[derive(Subcommand)]
enum Verb {
    /// Objects: put, get, stat, ls, rm
    #[command(subcommand)]
    Obj(obj::Verb),
    /// Buckets, which hold objects: create, list, drop
    #[command(subcommand)]
    Bucket(bucket::Verb),
    /// Indices of keys and values
    #[command(subcommand)]
    Idx(idx::Verb),
    /// Who may use S3
    #[command(subcommand)]
    S3(s3::Verb),
    /// Pools of devices
    #[command(subcommand)]
    Pool(pool::Verb),
    /// A cluster on this machine
    #[command(subcommand)]
    Dev(dev::Verb),
    /// What a cluster can hold and bear, one that is thought of or the one that runs
    Plan(plan::Arguments),
    /// Measures the cluster beside this machine's own limits, or puts a load on it that a file describes
    Bench(bench::Arguments),
}

impl Verb {
    /// The runtime that suits the verb. Messages find their way soonest on one thread, which drives the fabric too; object data is read, encoded
    /// and sent at once on several.
    fn runtime(&self) -> Builder {
        match self {
            Self::Obj(_) => several(),
            Self::Bench(arguments) if arguments.moves_objects() => several(),
            _ => Builder::new_current_thread(),
        }
    }
}

fn several() -> Builder {
    let mut several = Builder::new_multi_thread();
    several.worker_threads(2);
    several
}

/// Runs the command line.
pub fn main() -> ExitCode {
    if let Some(done) = service::pages::asked::<Cli>("1") {
        return done;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are data; everything else is a wrong use.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            if exit == Exit::Usage && service::usage::wants_json(std::env::args_os()) {
                report(&Failure::new(exit, service::usage::said(&error)), Format::Json);
            } else {
                let _ = error.print();
            }
            return exit.into();
        }
    };
    log();
    let common = cli.common.clone();
    let done =
        cli.verb.runtime().enable_all().build().map_err(|e| Failure::new(Exit::Failure, format!("no runtime: {e}"))).and_then(|runtime| {
            let done = runtime.block_on(run(cli));
            // A thread that still reads standard input must not hold the process.
            runtime.shutdown_timeout(Duration::from_millis(200));
            done
        });
    match done {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => {
            report(&failure, common.output);
            failure.exit.into()
        }
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let common = cli.common;
    match cli.verb {
        Verb::Obj(verb) => obj::run(&common, verb).await,
        Verb::Bucket(verb) => bucket::run(&common, verb).await,
        Verb::Idx(verb) => idx::run(&common, verb).await,
        Verb::S3(verb) => s3::run(&common, verb).await,
        Verb::Pool(verb) => pool::run(&common, verb).await,
        Verb::Dev(verb) => dev::run(&common, verb).await,
        Verb::Plan(arguments) => plan::run(&common, &arguments).await,
        Verb::Bench(arguments) => bench::run(&common, arguments).await,
    }
}

fn report(failure: &Failure, format: Format) {
    let mut stderr = std::io::stderr();
    let _ = match format {
        Format::Text => writeln!(stderr, "redoubt: {}", failure.message),
        Format::Json => {
            let error = serde_json::json!({"error": failure.message, "kind": failure.exit.word(), "exit": failure.exit as u8});
            writeln!(stderr, "{error}")
        }
    };
}

fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("REDOUBT_LOG").unwrap_or_else(|_| "error".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        // `--version` of a verb would be that of an object and that of the program at once.
        Cli::command().debug_assert();
    }
}
