//! One command of the product, with a deadline.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::peak_resident_bytes;

/// How often the memory of a command is looked at.
const MEMORY_INTERVAL: Duration = Duration::from_millis(20);

/// How a command ended.
#[derive(Debug)]
pub struct Run {
    /// What was run.
    pub command: String,
    /// Its exit code; 128 + the signal where one ended it.
    pub code: i32,
    /// What it printed.
    pub out: Vec<u8>,
    /// What it said beside that.
    pub err: String,
    /// How long it took.
    pub took: Duration,
    /// The most memory that it had resident, in bytes; what it took in its last moments may be missing.
    pub peak_bytes: u64,
}

impl Run {
    /// What it printed, if it succeeded.
    pub fn success(self) -> Result<String> {
        if self.code != 0 {
            bail!("`{}` ended with {} after {:?}: {}", self.command, self.code, self.took, self.err.trim());
        }
        Ok(String::from_utf8_lossy(&self.out).into_owned())
    }
}

/// Runs a program to its end; one that is not over by the deadline is killed and is an error: nothing here may hang.
pub fn run(program: &Path, args: &[&str], env: &[(&str, &dyn AsRef<OsStr>)], deadline: Duration) -> Result<Run> {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let command = format!("{name} {}", args.join(" "));
    let began = Instant::now();
    let mut process = Command::new(program);
    process.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (key, value) in env {
        process.env(key, value.as_ref());
    }
    let mut child = process.spawn().with_context(|| program.display().to_string())?;
    let out = collect(child.stdout.take());
    let err = collect(child.stderr.take());
    let (code, peak_bytes) = wait(&mut child, began + deadline)?;
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    let err = String::from_utf8_lossy(&err).into_owned();
    let Some(code) = code else { bail!("`{command}` was not over after {deadline:?}: {}", err.trim()) };
    Ok(Run { command, code, out, err, took: began.elapsed(), peak_bytes })
}

fn collect(from: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        if let Some(mut from) = from
            && let Err(error) = from.read_to_end(&mut all)
        {
            all.extend_from_slice(error.to_string().as_bytes());
        }
        all
    })
}

/// Waits for the end; gives the exit code, and the memory that it had.
fn wait(child: &mut Child, until: Instant) -> Result<(Option<i32>, u64)> {
    let (mut peak, mut look) = (0, Instant::now());
    loop {
        if let Some(status) = child.try_wait()? {
            use std::os::unix::process::ExitStatusExt;
            return Ok((Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))), peak));
        }
        if Instant::now() >= look {
            // One that has just ended has no memory any more.
            peak = peak.max(peak_resident_bytes(child.id()).unwrap_or(0));
            look = Instant::now() + MEMORY_INTERVAL;
        }
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            return Ok((None, peak));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
