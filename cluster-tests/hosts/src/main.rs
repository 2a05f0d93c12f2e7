//! `redoubt-hosts`: booted hosts on this machine, for tests of deployment and for whoever wants to look at one.
//!
//! Exit codes: 0 done; 1 it failed; 2 the command line is wrong; 3 this machine does not permit it.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use hosts::{Host, Set, host, image, network, permit};

/// What it ends with where the machine does not permit booted hosts.
const NOT_PERMITTED: u8 = 3;

/// Booted Debian hosts on this machine: docs/operations.md.
#[derive(Parser)]
#[command(name = "redoubt-hosts", version)]
struct Arguments {
    /// Which set of hosts
    #[arg(long, default_value = "hosts")]
    set: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Says whether this machine permits booted hosts
    Check,
    /// Makes the base image, if it is not there
    Image,
    /// Makes and boots hosts, node-1 and so on
    Up {
        /// How many
        #[arg(long, default_value_t = 3)]
        count: u8,
    },
    /// Ends the hosts and removes everything of them
    Down,
    /// The hosts, as JSON
    List,
    /// The hosts, as an inventory of ansible
    Inventory,
    /// Runs a command where the hosts can be reached
    Exec {
        /// The command
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        line: Vec<String>,
    },
    /// Runs a command on a host
    Ssh {
        /// The host
        host: String,
        /// The command
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        line: Vec<String>,
    },
    /// Pulls the plug of hosts
    PowerCut {
        /// The hosts
        #[arg(required = true)]
        hosts: Vec<String>,
    },
    /// Boots hosts that are without power
    PowerOn {
        /// The hosts
        #[arg(required = true)]
        hosts: Vec<String>,
    },
    /// Stops every process of hosts; their network goes on
    Freeze {
        /// The hosts
        #[arg(required = true)]
        hosts: Vec<String>,
    },
    /// Lets them go on
    Thaw {
        /// The hosts
        #[arg(required = true)]
        hosts: Vec<String>,
    },
    /// Cuts hosts off from all others
    Partition {
        /// The hosts of one side
        #[arg(required = true)]
        hosts: Vec<String>,
    },
    /// Lets all hosts reach each other again
    Heal,
    /// Stands beside a host while it is up
    #[command(hide = true)]
    Keep {
        /// The host
        host: String,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if matches!(arguments.verb, Verb::Check | Verb::Up { .. } | Verb::Image)
        && let Some(why) = permit::refusal()
    {
        eprintln!("redoubt-hosts: this machine permits no booted hosts: {why}");
        return ExitCode::from(NOT_PERMITTED);
    }
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("redoubt-hosts: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let set = || Set::read(&arguments.set);
    match &arguments.verb {
        Verb::Check => {}
        Verb::Image => println!("{}", image::base()?.display()),
        Verb::Up { count } => {
            let set = Set::up(&arguments.set, *count)?;
            println!("{} hosts are up; `redoubt-hosts --set {} down` ends them", set.hosts.len(), set.name);
        }
        Verb::Down => set()?.down(),
        Verb::List => println!("{}", serde_json::to_string_pretty(&set()?)?),
        Verb::Inventory => print!("{}", set()?.inventory()),
        Verb::Exec { line } => return exec(&set()?, line),
        Verb::Ssh { host, line } => {
            let set = set()?;
            let line: Vec<&str> = line.iter().map(String::as_str).collect();
            print!("{}", set.ssh(set.host(host)?, &line)?);
        }
        Verb::PowerCut { hosts } => each(&set()?, hosts, host::cut_power)?,
        Verb::PowerOn { hosts } => each(&set()?, hosts, |set, host| {
            host::boot(set, host)?;
            set.wait_for(host)
        })?,
        Verb::Freeze { hosts } => each(&set()?, hosts, |set, host| host::groups(set, host).freeze(true))?,
        Verb::Thaw { hosts } => each(&set()?, hosts, |set, host| host::groups(set, host).freeze(false))?,
        Verb::Partition { hosts } => {
            let set = set()?;
            let away = hosts.iter().map(|name| set.host(name)).collect::<Result<Vec<_>>>()?;
            network::partition(&set, &away)?;
        }
        Verb::Heal => network::heal(&set()?),
        Verb::Keep { host } => {
            let set = set()?;
            host::keep(&set, set.host(host)?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn each(set: &Set, names: &[String], act: impl Fn(&Set, &Host) -> Result<()>) -> Result<()> {
    let hosts = names.iter().map(|name| set.host(name)).collect::<Result<Vec<_>>>()?;
    hosts.into_iter().try_for_each(|host| act(set, host).with_context(|| host.name.clone()))
}

/// Runs a command in the switch's namespace, and ends as it does.
fn exec(set: &Set, line: &[String]) -> Result<ExitCode> {
    let status =
        Command::new("nsenter").arg(format!("--net=/run/netns/{}", set.switch())).arg("--").args(line).status().context("nsenter")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
