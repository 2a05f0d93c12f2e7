//! `redoubt-ha`: the HA daemon of a node. Logs to stderr; SIGTERM and SIGINT stop it in order.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use ha_api::config::HaConfig;
use ha_daemon::{Daemon, listen};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The HA daemon of a Redoubt node.
#[derive(Parser)]
#[command(name = "redoubt-ha", version, about)]
struct Args {
    /// The configuration, ha.toml.
    #[arg(long)]
    config: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,openraft=error"));
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).init();
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
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let daemon = Daemon::start(&config, listen(&config.listen)?).await?;
    tokio::select! {
        why = daemon.ended() => anyhow::bail!("{why}"),
        _ = terminate.recv() => tracing::info!("SIGTERM"),
        _ = interrupt.recv() => tracing::info!("SIGINT"),
    }
    daemon.stop().await;
    Ok(())
}
