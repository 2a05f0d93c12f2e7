//! Commands of the system, run to their end; one that fails is an error with what it said.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a command line; gives what it printed.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let line = || format!("{program} {}", arguments.join(" "));
    let out = Command::new(program).args(arguments).stdin(Stdio::null()).output().with_context(line)?;
    if !out.status.success() {
        bail!("{}: {}", line(), String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The same for what may be gone already: whether it worked is no matter.
pub fn attempt(program: &str, arguments: &[&str]) {
    let _ = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}
