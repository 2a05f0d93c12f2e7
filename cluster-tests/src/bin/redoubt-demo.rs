//! `make demo`: a cluster of three nodes on this machine, real files in and out, a node killed and back, and one page about it.
//!
//! Uses the command lines alone, as a newcomer would. Everything it starts is stopped and everything it writes is removed, whatever happens.

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use cluster_tests::process::{Cluster, Pattern, compare_trees, copy_some_files};

/// A cluster of three nodes, real files in and out, one node killed and back.
#[derive(Parser)]
struct Arguments {
    /// Store at least this many files.
    #[arg(long, default_value_t = 2000)]
    files: usize,
    /// Store at least this many MiB.
    #[arg(long, default_value_t = 1024)]
    mebibytes: u64,
    /// Take them from here.
    #[arg(long, default_values = ["/usr/share", "/usr/lib", "/usr/bin"])]
    from: Vec<PathBuf>,
}

/// One line of the page.
struct Step {
    what: String,
    took: Duration,
    result: String,
}

/// The steps so far, told as they happen.
struct Page {
    steps: Vec<Step>,
    began: Instant,
}

impl Page {
    fn step<T>(&mut self, what: &str, act: impl FnOnce() -> Result<(T, String)>) -> Result<T> {
        eprintln!("[{:>5.1} s] {what} ...", self.began.elapsed().as_secs_f64());
        let began = Instant::now();
        let (value, result) = act().with_context(|| what.to_string())?;
        let took = began.elapsed();
        eprintln!("[{:>5.1} s]   {result}", self.began.elapsed().as_secs_f64());
        self.steps.push(Step { what: what.into(), took, result });
        Ok(value)
    }

    fn print(&self, events: &[String]) {
        let bold = |s: &str| if std::io::stdout().is_terminal() { format!("\x1b[1m{s}\x1b[0m") } else { s.into() };
        println!("\n{}\n", bold("Redoubt: what was done"));
        for step in &self.steps {
            println!("  {:>7.2} s  {:<52} {}", step.took.as_secs_f64(), step.what, step.result);
        }
        println!("  {:>7.2} s  in all\n\n{}\n", self.began.elapsed().as_secs_f64(), bold("What HA saw, and when"));
        for event in events {
            println!("  {event}");
        }
        println!();
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut page = Page { steps: Vec::new(), began: Instant::now() };
    let scratch = Scratch::new()?;
    let source = scratch.0.join("source");

    page.step("Collect real files of this machine", || {
        let from: Vec<&Path> = arguments.from.iter().map(PathBuf::as_path).collect();
        let (files, bytes) = copy_some_files(&from, &source, arguments.files, arguments.mebibytes << 20)?;
        Ok(((), format!("{files} files, {}", mib(bytes))))
    })?;
    let cluster = page.step("Start 3 nodes of 2 disk groups; 4+2, 2+2, 1+2", || {
        let cluster = Cluster::up(3, &["--device-bytes", "2GiB"])?;
        Ok((cluster, "all ONLINE, every group has an active primary".into()))
    })?;
    page.step("Store the tree", || {
        let began = Instant::now();
        cluster.redoubt_within(&["obj", "put", utf8(&source)?, "tree"], 900)?.success()?;
        let bytes = size_of(&source)?;
        Ok(((), rate(bytes, began.elapsed())))
    })?;
    page.step("List it", || {
        let count = cluster.ok(&["obj", "ls", "tree/"])?.lines().count();
        Ok(((), format!("{count} names")))
    })?;
    read_back(&mut page, &cluster, &source, &scratch, "Read it back and compare")?;

    let writer = Writer::start(&cluster, &scratch)?;
    page.step("Kill node-2 with SIGKILL while a second client writes", || {
        cluster.kill("node-2")?;
        let took = cluster.wait_state("node-2", "TRANSIENT", Duration::from_secs(10))?;
        Ok(((), format!("HA says TRANSIENT; asked for and seen within {:.2} s", took.as_secs_f64())))
    })?;
    read_back(&mut page, &cluster, &source, &scratch, "Read everything degraded and compare")?;
    let written = page.step("The second client, with a node away", || {
        let written = writer.stop()?;
        let text = format!("{} objects written, longest wait {:.2} s", written.count, written.longest.as_secs_f64());
        Ok((written, text))
    })?;
    page.step("Store more, degraded (the 2+2 pool takes over)", || {
        let file = scratch.0.join("degraded");
        Pattern(7).write(&file, 32 << 20)?;
        cluster.ok(&["obj", "put", utf8(&file)?, "degraded"])?;
        let stat = cluster.json(&["obj", "stat", "degraded"])?;
        Ok(((), format!("pools {}", pools(&stat))))
    })?;
    page.step("Start node-2 and wait until HA says ONLINE", || {
        cluster.start("node-2")?;
        cluster.wait_state("node-2", "ONLINE", Duration::from_secs(60))?;
        Ok(((), "ONLINE".into()))
    })?;
    read_back(&mut page, &cluster, &source, &scratch, "Read everything again and compare")?;
    page.step("Check what the second client wrote", || {
        let back = scratch.0.join("second");
        for (name, seed) in &written.acknowledged {
            cluster.ok(&["obj", "get", name, utf8(&back)?])?;
            if fs::read(&back)? != Pattern(*seed).bytes(SECOND_BYTES) {
                bail!("{name} came back different");
            }
        }
        Ok(((), format!("{} acknowledged objects, all equal", written.acknowledged.len())))
    })?;
    let events = events(&cluster)?;
    page.step("Stop everything", || {
        drop(cluster);
        Ok(((), "nothing is left running".into()))
    })?;
    page.print(&events);
    Ok(())
}

/// Objects of the second client have this size.
const SECOND_BYTES: usize = 256 * 1024;

fn read_back(page: &mut Page, cluster: &Cluster, source: &Path, scratch: &Scratch, what: &str) -> Result<()> {
    page.step(what, || {
        let back = scratch.0.join("back");
        let began = Instant::now();
        cluster.redoubt_within(&["obj", "get", "tree/", utf8(&back)?], 900)?.success()?;
        let took = began.elapsed();
        let (files, bytes) = compare_trees(source, &back)?;
        fs::remove_dir_all(&back)?;
        Ok(((), format!("{files} files equal, {}", rate(bytes, took))))
    })
}

/// A second client that writes small objects one after the other until it is told to stop.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<Written>>,
}

struct Written {
    acknowledged: Vec<(String, u64)>,
    count: usize,
    longest: Duration,
}

impl Writer {
    fn start(cluster: &Cluster, scratch: &Scratch) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, file) = (stop.clone(), scratch.0.join("second-source"));
        let (redoubt, dir) = (cluster_tests::process::binaries()?.join("redoubt"), cluster.dir.clone());
        let thread = std::thread::spawn(move || {
            let mut written = Written { acknowledged: Vec::new(), count: 0, longest: Duration::ZERO };
            for seed in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                fs::write(&file, Pattern(seed).bytes(SECOND_BYTES))?;
                let name = format!("second/{seed:06}");
                let args = ["obj", "put", utf8(&file)?, &name];
                let run = cluster_tests::process::run(&redoubt, &args, &[("REDOUBT_DIR", &dir)], Duration::from_secs(60))?;
                written.longest = written.longest.max(run.took);
                run.success()?;
                written.count += 1;
                written.acknowledged.push((name, seed));
            }
            Ok(written)
        });
        Ok(Self { stop, thread })
    }

    fn stop(self) -> Result<Written> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the second client panicked"))?
    }
}

fn events(cluster: &Cluster) -> Result<Vec<String>> {
    let run = cluster_tests::process::run(
        &cluster_tests::process::binaries()?.join("ha"),
        &["events"],
        &[("REDOUBT_DIR", &cluster.dir)],
        Duration::from_secs(30),
    )?;
    Ok(run.success()?.lines().map(String::from).collect())
}

fn pools(stat: &serde_json::Value) -> String {
    let mut pools: Vec<String> =
        stat["parts"].as_array().into_iter().flatten().filter_map(|p| p["pool"].as_str().map(String::from)).collect();
    pools.sort();
    pools.dedup();
    pools.join(", ")
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().context("the path is UTF-8")
}

fn size_of(tree: &Path) -> Result<u64> {
    compare_trees(tree, tree).map(|(_, bytes)| bytes)
}

fn mib(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
}

fn rate(bytes: u64, took: Duration) -> String {
    format!("{} at {:.0} MB/s", mib(bytes), bytes as f64 / 1e6 / took.as_secs_f64())
}

/// A directory that goes away with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("redoubt-demo-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            let _ = writeln!(std::io::stderr(), "{}: {error}", self.0.display());
        }
    }
}
