//! The rules of the house that no compiler checks, as one list of findings.
//!
//! Reads what git tracks and `cargo metadata`; writes nothing.

mod edges;
mod features;
mod sources;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

/// Prints every finding and fails if there is one.
pub fn run() -> anyhow::Result<()> {
    let root = crate::root()?;
    let files = tracked(&root)?;
    let mut findings = edges::check(&root)?;
    findings.extend(features::check(&root)?);
    findings.extend(sources::check(&root, &files)?);
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy: {} findings in {} files", findings.len(), files.len());
    }
    println!("tidy: {} files, no findings", files.len());
    Ok(())
}

/// What git tracks, without what is deleted in the work tree.
fn tracked(root: &PathBuf) -> anyhow::Result<Vec<String>> {
    let out = Command::new("git").arg("ls-files").current_dir(root).output().context("git ls-files")?;
    if !out.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&out.stderr));
    }
    let names = String::from_utf8(out.stdout).context("names of files are UTF-8")?;
    Ok(names.lines().filter(|f| root.join(f).is_file()).map(String::from).collect())
}
