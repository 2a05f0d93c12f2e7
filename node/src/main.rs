//! `redoubt-node`: the storage process of a node.
//!
//! Exit codes: 0 stopped as asked; 1 it cannot start or go on, the last line says why; 2 the command line is wrong. `dtm log` is a tool for a
//! device whose process does not run ([`node::dtm_log`]).

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use ha_api::config::NodeConfig;
use node::rebuild::RebuildOptions;
use node::scrub::ScrubOptions;
use node::sweep::SweepOptions;
use node::{Ended, Known, Options, S3Role};
use s3::Webhooks;
use service::Manager;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Each put of a row makes and drops a few hundred small pieces of memory on several threads. It serves the C and C++ libraries of the process, too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Threads for control and for requests that wait; data moves on the fabric's and the devices' own threads.
const WORKERS: usize = 2;
/// How long the tasks of a life may take to let go of what they hold.
const LET_GO: Duration = Duration::from_secs(2);
/// Pause before a new life, so that one that ends at once does not spin.
const AGAIN_PAUSE: Duration = Duration::from_millis(200);

/// The storage process of a Redoubt node.
#[derive(Debug, Parser)]
#[command(name = "redoubt-node", version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    #[command(subcommand)]
    tool: Option<Tool>,
    /// The configuration file.
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// Only read the configuration and say what is wrong with it.
    #[arg(long)]
    check: bool,
    /// Milliseconds for which the units of a deleted object stay, for readers that began before.
    #[arg(long, value_name = "MS", env = "REDOUBT_DEAD_AGE_MS", default_value_t = SweepOptions::default().dead_age_ms)]
    dead_age_ms: u64,
    /// Seconds from the begin of one scrub of a device, which reads everything on it, to that of the next.
    #[arg(long, value_name = "SECONDS", env = "REDOUBT_SCRUB_EVERY_S", default_value_t = ScrubOptions::default().every.as_secs(), value_parser = clap::value_parser!(u64).range(1..))]
    scrub_every_s: u64,
    /// Bytes in a second that the scrub of a device reads at most; 0 is no bound.
    #[arg(long, value_name = "BYTES", env = "REDOUBT_SCRUB_BYTES_PER_S", default_value_t = ScrubOptions::default().bytes_per_second_max)]
    scrub_bytes_per_s: u64,
    /// Bytes in a second that are rebuilt on a device at most; 0 is no bound.
    #[arg(long, value_name = "BYTES", env = "REDOUBT_REBUILD_BYTES_PER_S", default_value_t = RebuildOptions::default().bytes_per_second_max)]
    rebuild_bytes_per_s: u64,
    /// While clients are at work on a device, the rest after a unit that was rebuilt, in times of what that took.
    #[arg(long, value_name = "TIMES", env = "REDOUBT_REBUILD_YIELDS", default_value_t = RebuildOptions::default().yields)]
    rebuild_yields: u32,
    /// Milliseconds of a day of the rules by which objects of a bucket go: for tests.
    #[arg(long, value_name = "MS", env = "REDOUBT_DAY_MS", default_value_t = SweepOptions::default().day_ms, hide = true)]
    day_ms: u64,
}

/// Tools for a device whose process does not run.
#[derive(Debug, Subcommand)]
enum Tool {
    /// What a device holds of DTM0
    #[command(subcommand)]
    Dtm(DtmTool),
}

#[derive(Debug, Subcommand)]
enum DtmTool {
    /// Its logs: `dtm log show|replay|chart DIR`
    Log(node::dtm_log::Arguments),
}

fn main() -> ExitCode {
    if let Some(done) = service::pages::asked::<Arguments>("8") {
        return done;
    }
    let filter = EnvFilter::try_from_env("REDOUBT_LOG").unwrap_or_else(|_| EnvFilter::new("info,s3s::ops=off"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).finish();
    lines.with(FilterFn::new(is_shown)).init();
    let arguments = Arguments::parse();
    let done = match &arguments.tool {
        Some(Tool::Dtm(DtmTool::Log(arguments))) => node::dtm_log::run(arguments),
        None => live(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What may be shown, whatever the environment asks for: the protocol of S3 shows whole requests at finer levels, and in them signatures and keys.
fn is_shown(event: &tracing::Metadata<'_>) -> bool {
    *event.level() <= tracing::Level::INFO || !event.target().starts_with("s3s")
}

/// Lives until it is asked to stop: as often as HA gives a life up, another begins.
fn live(arguments: &Arguments) -> anyhow::Result<()> {
    let file = arguments.config.as_ref().context("--config FILE is missing")?;
    let config = NodeConfig::load(file)?;
    if arguments.check {
        return Ok(());
    }
    if let Some(socket) = &config.fault_points {
        service::points::serve(socket, node::points::POINTS).with_context(|| format!("fault_points: {}", socket.display()))?;
    }
    let manager = Arc::new(Manager::of_environment());
    manager.status("waits for HA");
    let scrub = ScrubOptions { every: Duration::from_secs(arguments.scrub_every_s), bytes_per_second_max: arguments.scrub_bytes_per_s };
    let rebuild = RebuildOptions { bytes_per_second_max: arguments.rebuild_bytes_per_s, yields: arguments.rebuild_yields };
    let webhooks = config.s3.as_ref().map_or_else(Webhooks::default, |s3| Webhooks::new(s3.key_file.clone(), s3.region.clone()));
    let options =
        Options { sweep: SweepOptions { dead_age_ms: arguments.dead_age_ms, day_ms: arguments.day_ms }, scrub, rebuild, webhooks };
    let signals = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().context("starting a runtime")?;
    let stop = signals.block_on(async { stopped() }).context("listening to signals")?;
    // Loading takes longer than all else at the start; signals are listened to before it. An error shows again when the fabric starts.
    std::thread::spawn(|| drop(net::fabric::load()));
    let known = Arc::new(Known::default());
    let s3 = Arc::new(S3Role::start(&config, known.clone()).context("starting the S3 gateway")?);
    loop {
        let mut life = tokio::runtime::Builder::new_multi_thread();
        let life = life.worker_threads(WORKERS).thread_name("work").enable_all().build().context("starting a runtime")?;
        let (mut stop, s3) = (stop.as_ref().clone(), s3.clone());
        let (alive, asked) = (manager.clone(), manager.clone());
        // On the threads of the life, so that the service manager ends a process whose threads hang.
        life.spawn(async move { alive.keep_alive().await });
        let serving = || manager.ready("serves");
        let ended = life.block_on(node::run(&config, options.clone(), &known, serving, async move {
            // The sender lives as long as the process.
            let _asked = stop.wait_for(|asked| *asked).await;
            asked.stopping();
            // What it serves may need this process.
            if let Some(s3) = s3.as_ref() {
                s3.end().await;
            }
        }));
        life.shutdown_timeout(LET_GO);
        match ended? {
            Ended::Stopped => return Ok(()),
            Ended::Superseded(why) => {
                manager.status("waits for HA: it gave this start up");
                tracing::warn!(why, "HA gave this start of the process up: it begins anew");
            }
        }
        std::thread::sleep(AGAIN_PAUSE);
    }
}

/// Becomes true when the process is asked to stop.
fn stopped() -> std::io::Result<Arc<watch::Receiver<bool>>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (tx, rx) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tx.send_replace(true);
        std::future::pending::<()>().await;
    });
    Ok(Arc::new(rx))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Where lines go.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nobody panics with it").write(line)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn requests_of_s3_are_not_shown_whatever_is_asked_for() {
        let lines = Lines::default();
        let writer = lines.clone();
        let shown = tracing_subscriber::fmt().with_env_filter("trace,s3s::service=trace").with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(shown.with(FilterFn::new(is_shown)), || {
            tracing::debug!(target: "s3s::service", "a secret");
            tracing::warn!(target: "s3s::service", "a warning");
            tracing::trace!(target: "s3::serve", "a step");
        });
        let text = String::from_utf8(lines.0.lock().expect("nobody panics with it").clone()).expect("text");
        assert!(text.contains("a warning") && text.contains("a step") && !text.contains("a secret"), "{text}");
    }
}
