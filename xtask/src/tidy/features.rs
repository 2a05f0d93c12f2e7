//! Dependencies have the same features however our crates are selected: else they are compiled once for each selection (crate `features`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// What is built by itself: the product, and its tests without the simulator.
const SELECTIONS: &[&[&str]] = &[
    &["--edges", "normal,build", "-p", "client", "-p", "node", "-p", "ha-daemon", "-p", "ha-cli"],
    &["--edges", "normal,build", "-p", "cluster-tests"],
    &["--edges", "normal,build,dev", "--workspace", "--exclude", "cluster-tests", "--exclude", "hosts"],
];
const ALL: &[&str] = &["--edges", "normal,build,dev", "--workspace"];

/// Dependency → the sets of features that it is built with (one for our programs, perhaps another for what runs while they are built).
type Features = BTreeMap<String, BTreeSet<String>>;

/// Findings about features, one line each.
pub fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let all = features(root, ALL)?;
    let mut findings = BTreeSet::new();
    for selection in SELECTIONS {
        for (name, sets) in features(root, selection)? {
            let wanted = all.get(&name);
            if wanted != Some(&sets) {
                let most = wanted.into_iter().flatten().cloned().collect::<Vec<_>>().join(" or ");
                findings.insert(format!("features/Cargo.toml: {name} is built with other features than {most}"));
            }
        }
    }
    Ok(findings.into_iter().collect())
}

fn features(root: &Path, selection: &[&str]) -> anyhow::Result<Features> {
    let out = Command::new("cargo")
        .args(["tree", "--offline", "--prefix", "none", "--no-dedupe", "--format", "{p}|{f}"])
        .args(selection)
        .current_dir(root)
        .output()
        .context("cargo tree")?;
    if !out.status.success() {
        bail!("cargo tree: {}", String::from_utf8_lossy(&out.stderr));
    }
    let mut features = Features::new();
    for line in String::from_utf8(out.stdout).context("names of packages are UTF-8")?.lines() {
        let Some((package, set)) = line.split_once('|') else { continue };
        // Ours have a path, and are built as they are asked for.
        if !package.contains('/') {
            features.entry(package.to_owned()).or_default().insert(set.to_owned());
        }
    }
    Ok(features)
}
