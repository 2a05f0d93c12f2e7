//! The command line: what all verbs share. One verb, one file.

mod bundle;
mod ca;
mod check;
mod device;
mod events;
mod log;
mod node;
mod policy;
mod pool;
mod process;
mod rebalance;
mod recover;
mod repair;
mod status;
mod top;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::connect::Ha;
use crate::exit::{Exit, Failure};
use crate::output::Format;

/// The state of a Redoubt cluster, as HA decides it.
#[derive(Parser)]
#[command(name = "ha", version, propagate_version = true, after_help = "Exit codes: docs/exit-codes.md")]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb takes.
#[derive(clap::Args, Clone, Debug)]
pub struct Common {
    /// HA daemons to ask, as HOST:PORT[,HOST:PORT...]; else those of the local cluster in --dir
    #[arg(long, visible_alias = "ha", global = true, env = "REDOUBT_HA", value_delimiter = ',', value_name = "ADDRESSES")]
    pub server: Vec<String>,
    /// The local cluster's directory
    #[arg(long, global = true, env = "REDOUBT_DIR", default_value = "./redoubt-dev", value_name = "DIR")]
    pub dir: PathBuf,
    /// A directory with the certificate that HA is shown: ca.pem, certificate.pem, key.pem
    #[arg(long, global = true, env = "REDOUBT_TLS", value_name = "DIR")]
    pub tls: Option<PathBuf>,
    /// How to print results
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub output: Format,
    /// How long HA is asked before it is an error
    #[arg(long, global = true, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
}

impl Common {
    /// How long HA is asked.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

#[derive(Subcommand)]
enum Verb {
    /// How the cluster is
    Status(status::Args),
    /// The cluster on a screen that stays up to date: nodes, devices, repair, what is asked and how long it takes, events
    Top(top::Args),
    /// What happened to it
    Events(events::Args),
    /// Nodes
    #[command(subcommand)]
    Node(node::Verb),
    /// Devices
    #[command(subcommand)]
    Device(device::Verb),
    /// Storage processes
    #[command(subcommand)]
    Process(process::Verb),
    /// Pools and their groups
    #[command(subcommand)]
    Pool(pool::Verb),
    /// Whether something may be done now
    #[command(subcommand)]
    Check(check::Verb),
    /// Units of objects that are rebuilt
    #[command(subcommand)]
    Repair(repair::Verb),
    /// For how long what is away is waited for before it is given up and rebuilt elsewhere
    #[command(subcommand)]
    Policy(policy::Verb),
    /// What somebody needs who is asked for help, in one archive without secrets
    Bundle(bundle::Args),
    /// The authority whose certificates the cluster takes
    #[command(subcommand)]
    Ca(ca::Verb),
    /// Places that are spread over all devices
    #[command(subcommand)]
    Rebalance(rebalance::Verb),
    /// Make HA anew from what one daemon has: a majority of those that vote is lost for good
    Recover(recover::Args),
    /// The Raft log behind it all, as each HA daemon sees it
    Log(log::Args),
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
    let format = cli.common.output;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => Err(Failure::new(Exit::Failure, format!("no runtime: {error}"))),
    };
    match done {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => {
            report(&failure, format);
            failure.exit.into()
        }
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let format = cli.common.output;
    // The authority is the operator's own: no cluster is asked.
    if let Verb::Ca(verb) = &cli.verb {
        return ca::run(format, verb);
    }
    // It is of use where HA cannot be asked, too.
    if let Verb::Bundle(args) = &cli.verb {
        return bundle::run(&cli.common, format, args).await;
    }
    let ha = Ha::of(&cli.common)?;
    match cli.verb {
        Verb::Status(args) => status::run(&ha, format, &args).await,
        Verb::Top(args) => top::run(&ha, format, &args).await,
        Verb::Events(args) => events::run(&ha, format, &args).await,
        Verb::Node(verb) => node::run(&ha, format, &verb).await,
        Verb::Device(verb) => device::run(&ha, format, &verb).await,
        Verb::Process(verb) => process::run(&ha, format, &verb).await,
        Verb::Pool(verb) => pool::run(&ha, format, &verb).await,
        Verb::Check(verb) => check::run(&ha, format, &verb).await,
        Verb::Repair(verb) => repair::run(&ha, format, &verb).await,
        Verb::Policy(verb) => policy::run(&ha, format, &verb).await,
        Verb::Bundle(_) | Verb::Ca(_) => unreachable!("it is done"),
        Verb::Rebalance(verb) => rebalance::run(&ha, format, &verb).await,
        Verb::Recover(args) => recover::run(&ha, format, &args).await,
        Verb::Log(args) => log::run(&ha, format, &args).await,
    }
}

/// Says something on standard error that is no failure.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "ha: {text}");
}

/// Says on standard error why it failed; in the format asked for.
pub fn report(failure: &Failure, format: Format) {
    let text = match format {
        Format::Text => format!("ha: {}", failure.message),
        Format::Json => {
            serde_json::json!({ "error": failure.message, "kind": failure.exit.word(), "exit": failure.exit as u8 }).to_string()
        }
    };
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn verbs_and_flags_are_understood() {
        for line in [
            "ha status --watch",
            "ha top --once --every 0.5",
            "ha --server 127.0.0.1:1,127.0.0.1:2 --output json node show node-1",
            "ha events --limit 5 --after 7",
            "ha device list --dir /x",
            "ha repair status",
            "ha check stop node-1",
            "ha repair pause",
            "ha rebalance start",
            "ha node remove node-1 --dry-run",
            "ha node keep node-1",
            "ha node replace node-1 --dry-run",
            "ha node replace node-1 --wait 60",
            "ha node add /etc/redoubt/ha.toml --dry-run",
            "ha policy show",
            "ha policy set --device-away 15m --node-away never --dry-run",
            "ha node maintenance start node-1 --dry-run",
            "ha node maintenance end node-1",
            "ha device scrub dev-1",
            "ha device scrub --all",
            "ha process list",
            "ha pool show data",
            "ha log",
            "ha recover --dry-run",
            "ha recover --from node-1 --lost node-2 --lost node-3",
            "ha bundle help.tar",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        for line in [
            "ha",
            "ha status --timeout 0",
            "ha top --every 0",
            "ha events --limit 0",
            "ha node",
            "ha pool show",
            "ha device scrub",
            "ha policy set",
            "ha recover",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
