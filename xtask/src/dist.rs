//! `cargo xtask dist`: Debian packages of the product, from a build that is made or given.
//!
//! Three packages of one version: `redoubt` (the commands, the system user, its directories), `redoubt-ha` and `redoubt-node` (the daemons with
//! their units). What lies in them besides binaries is in `xtask/dist`; manual pages and completions come from the binaries themselves.
//! Installing starts and restarts nothing: when a node's processes may go is a decision about the cluster.

mod deb;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use deb::{Content, Package};

/// What is asked for.
#[derive(Args)]
pub struct Arguments {
    /// Where the packages go [default: dist in the target directory]
    #[arg(long)]
    out: Option<PathBuf>,
    /// A directory of binaries that are built already; else they are built
    #[arg(long)]
    bin: Option<PathBuf>,
    /// Which profile to build: `dev` takes a tenth of the time of `release`
    #[arg(long, default_value = "release", conflicts_with = "bin")]
    profile: String,
    /// The packages' version [default: the workspace's, with the commit]
    #[arg(long)]
    version: Option<String>,
}

/// The product's binaries, each with the package that it belongs to and the section of its manual page.
const BINARIES: &[(&str, &str, &str)] =
    &[("redoubt", "redoubt", "1"), ("ha", "redoubt", "1"), ("redoubt-ha", "redoubt-ha", "8"), ("redoubt-node", "redoubt-node", "8")];
/// The crates that they are built from, together: features are unified over all that is built.
const CRATES: &[&str] = &["client", "node", "ha-daemon", "ha-cli"];

/// After the files are there: the user and the directories. Nothing is started.
const SETTLE: &str = "if [ \"$1\" = configure ]; then\n    systemd-sysusers redoubt.conf\n    systemd-tmpfiles --create redoubt.conf\nfi\n";
const RELOAD: &str = "if [ -d /run/systemd/system ]; then\n    systemctl daemon-reload\nfi\n";

/// Runs the task.
pub fn run(arguments: &Arguments) -> Result<()> {
    let root = crate::root()?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let out = arguments.out.clone().unwrap_or_else(|| target.join("dist"));
    let bin = match &arguments.bin {
        Some(bin) => bin.clone(),
        None => build(&root, &target, &arguments.profile)?,
    };
    let version = match &arguments.version {
        Some(version) => version.clone(),
        None => version_of(&root)?,
    };
    let is_version = version.starts_with(|first: char| first.is_ascii_digit())
        && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+~".contains(&byte));
    ensure!(is_version, "`{version}` is no version of a package: a digit, then letters, digits, `.`, `+` and `~`");
    fs::create_dir_all(&out)?;
    // The directory is for one version, as the playbooks want it.
    for old in fs::read_dir(&out)?.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "deb")) {
        fs::remove_file(&old).with_context(|| old.display().to_string())?;
    }
    for package in packages(&root.join("xtask/dist"), &bin)? {
        let path = package.build(&version, &out)?;
        println!("{}", path.display());
    }
    Ok(())
}

fn build(root: &Path, target: &Path, profile: &str) -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    // Packages have no fault points.
    cargo.args(["build", "--no-default-features", "--profile", profile]).current_dir(root);
    cargo.args(CRATES.iter().flat_map(|name| ["-p", name]));
    if !cargo.status().context("cargo build")?.success() {
        bail!("the product does not build");
    }
    Ok(target.join(if profile == "dev" { "debug" } else { profile }))
}

/// The workspace's version, and which commit it is: later commits have higher versions.
fn version_of(root: &Path) -> Result<String> {
    let git = |arguments: &[&str]| -> Result<String> {
        let out = Command::new("git").args(arguments).current_dir(root).output().context("git")?;
        ensure!(out.status.success(), "git {}: {}", arguments.join(" "), String::from_utf8_lossy(&out.stderr).trim());
        Ok(String::from_utf8_lossy(&out.stdout).trim().to_string())
    };
    let (count, commit) = (git(&["rev-list", "--count", "HEAD"])?, git(&["rev-parse", "--short=8", "HEAD"])?);
    Ok(format!("{}+{count}.g{commit}", env!("CARGO_PKG_VERSION")))
}

fn packages(files: &Path, bin: &Path) -> Result<Vec<Package>> {
    let content = |name: &str, to: &str| Content { from: files.join(name), to: to.into(), mode: 0o644 };
    let mut packages = vec![
        Package {
            name: "redoubt",
            about: "commands of the Redoubt storage cluster",
            depends: vec!["libfabric1".into(), "systemd".into()],
            content: vec![
                content("redoubt.sysusers", "usr/lib/sysusers.d/redoubt.conf"),
                content("redoubt.tmpfiles", "usr/lib/tmpfiles.d/redoubt.conf"),
            ],
            after: SETTLE,
            ..Package::default()
        },
        Package {
            name: "redoubt-ha",
            about: "HA daemon of a node of the Redoubt storage cluster",
            depends: vec!["redoubt (= ${version})".into()],
            content: vec![content("redoubt-ha.service", "usr/lib/systemd/system/redoubt-ha.service")],
            after: RELOAD,
            stops: Some("redoubt-ha.service"),
            ..Package::default()
        },
        Package {
            name: "redoubt-node",
            about: "storage process of a node of the Redoubt storage cluster",
            depends: vec!["redoubt (= ${version})".into(), "libfabric1".into()],
            content: vec![content("redoubt-node.service", "usr/lib/systemd/system/redoubt-node.service")],
            after: RELOAD,
            stops: Some("redoubt-node.service"),
            ..Package::default()
        },
    ];
    for (name, package, section) in BINARIES {
        let path = bin.join(name);
        ensure!(path.is_file(), "there is no {}", path.display());
        let package = packages.iter_mut().find(|p| p.name == *package).context("each binary has a package")?;
        package.binaries.push((path, *section));
    }
    Ok(packages)
}
