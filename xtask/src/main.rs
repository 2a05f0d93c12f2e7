//! Tasks of this repository. `cargo xtask tidy` holds the tree against the rules of the house that no compiler checks; `cargo xtask dist` makes
//! Debian packages.

mod dist;
mod tidy;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};

/// Tasks of this repository.
#[derive(Parser)]
#[command(name = "xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Checks crate edges, file heads, file lengths, modules, banned words and formats; changes nothing.
    Tidy,
    /// Makes Debian packages of the product.
    Dist(dist::Arguments),
}

/// The root of the repository.
fn root() -> anyhow::Result<PathBuf> {
    let manifest = std::env::var("CARGO_MANIFEST_DIR").context("run it as `cargo xtask`")?;
    PathBuf::from(manifest).parent().map(PathBuf::from).context("xtask lies in the root of the repository")
}

fn main() -> std::process::ExitCode {
    let done = match Arguments::parse().task {
        Task::Tidy => tidy::run(),
        Task::Dist(arguments) => dist::run(&arguments),
    };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
