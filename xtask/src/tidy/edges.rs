//! Who may know whom: the edges between our crates, and what pure crates may not depend on.
//!
//! A new edge is a commit of its own that changes this table and says why.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde::Deserialize;

/// Crate → the crates of ours that its product code may use (`docs` of the architecture: ARCHITECTURE.md).
const EDGES: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("layout", &["types"]),
    ("dtm", &["types"]),
    ("ha-state", &["types"]),
    ("net", &["types"]),
    ("storage", &["types"]),
    ("ha-api", &["types"]),
    ("service", &[]),
    ("features", &[]),
    ("ha-daemon", &["features", "types", "layout", "ha-state", "ha-api", "service"]),
    ("ha-cli", &["features", "types", "ha-api", "service"]),
    ("client", &["features", "types", "layout", "ha-api", "net", "service"]),
    ("s3", &["types", "client"]),
    ("node", &["features", "types", "layout", "dtm", "ha-state", "ha-api", "net", "storage", "client", "s3", "service"]),
    ("hosts", &[]),
    ("xtask", &[]),
];

/// Crates without I/O: their dependencies are these and no others.
const PURE: &[&str] = &["types", "layout", "dtm", "ha-state"];
const PURE_MAY_USE: &[&str] = &["bincode", "crc-fast", "serde", "thiserror", "twox-hash"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    license: Option<String>,
    source: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

/// Findings about edges, one line each.
pub fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let out = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .context("cargo metadata")?;
    if !out.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&out.stderr));
    }
    let metadata: Metadata = serde_json::from_slice(&out.stdout).context("cargo metadata")?;
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let mut findings = Vec::new();
    for package in metadata.packages.iter().filter(|p| p.source.is_none()) {
        if package.license.as_deref() != Some("Apache-2.0") {
            findings.push(format!("{}: license.workspace = true is missing", package.name));
        }
        // The tests' crate may know everything; nothing may know it.
        let may = allowed.get(package.name.as_str());
        for dependency in package.dependencies.iter().filter(|d| d.kind.is_none()) {
            let ours = dependency.path.is_some();
            if ours && dependency.name == "cluster-tests" {
                findings.push(format!("{}: nothing imports cluster-tests", package.name));
            }
            if package.name == "cluster-tests" {
                continue;
            }
            let Some(may) = may else {
                findings.push(format!("{}: this crate has no row in xtask/src/tidy/edges.rs", package.name));
                break;
            };
            if ours && !may.contains(&dependency.name.as_str()) {
                findings.push(format!("{}: may not know {} (xtask/src/tidy/edges.rs)", package.name, dependency.name));
            }
            if !ours && PURE.contains(&package.name.as_str()) && !PURE_MAY_USE.contains(&dependency.name.as_str()) {
                findings.push(format!("{}: is pure and may not use {}", package.name, dependency.name));
            }
        }
    }
    Ok(findings)
}
