//! `ha`: what an operator asks HA. It reads and shows; what it shows is decided by HA alone.

use std::process::ExitCode;

mod cli;
mod connect;
mod exit;
mod health;
mod output;
mod time;

fn main() -> ExitCode {
    cli::main()
}
