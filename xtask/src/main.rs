//! Tasks of this repository. `cargo xtask tidy` holds the tree against the rules of the house that no compiler checks.

mod tidy;

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
}

fn main() -> std::process::ExitCode {
    let done = match Arguments::parse().task {
        Task::Tidy => tidy::run(),
    };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
