//! `redoubt-ha`: the HA daemon of a node. Logs to stderr; SIGTERM and SIGINT stop it in order.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use ha_api::config::HaConfig;
use ha_daemon::{Daemon, End, listen};
use service::Manager;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// How long answers under way may take to leave before the daemon starts again.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

/// The HA daemon of a Redoubt node.
#[derive(Parser)]
#[command(name = "redoubt-ha", version, about)]
struct Args {
    /// The configuration, ha.toml.
    #[arg(long)]
    config: PathBuf,
    /// Only read the configuration and say what is wrong with it.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    if let Some(done) = service::pages::asked::<Args>("8") {
        return done;
    }
    let args = Args::parse();
    // openraft says twice with every heartbeat that a daemon is away; `ha status` says so once.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,openraft=off"));
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).with_ansi(false).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("redoubt-ha: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("redoubt-ha: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> anyhow::Result<()> {
    let config = HaConfig::load(&args.config)?;
    if args.check {
        return Ok(());
    }
    if let Some(socket) = &config.fault_points {
        let served = service::points::serve(socket, ha_daemon::points::POINTS);
        served.with_context(|| format!("fault_points: {}", socket.display()))?;
    }
    let manager = Manager::of_environment();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let daemon = Daemon::start(&config, listen(&config.listen)?).await?;
    manager.ready("takes part");
    tokio::select! {
        end = daemon.ended() => match end {
            End::Failed(why) => anyhow::bail!("{why}"),
            End::Again => return again(daemon).await,
        },
        () = manager.keep_alive() => unreachable!("signs of life go on for ever"),
        _ = terminate.recv() => tracing::info!("SIGTERM"),
        _ = interrupt.recv() => tracing::info!("SIGINT"),
    }
    manager.stopping();
    daemon.stop().await;
    Ok(())
}

/// The same process from its begin: under its pid, with nothing that it had open.
async fn again(daemon: Daemon) -> anyhow::Result<()> {
    tokio::time::sleep(LAST_ANSWERS).await;
    daemon.stop().await;
    let own = std::env::current_exe()?;
    let error = Command::new(&own).args(std::env::args_os().skip(1)).exec();
    anyhow::bail!("{}: {error}", own.display())
}
