//! `redoubt`: objects and indices from the command line, a local cluster to try them on, and benches. Data goes to standard output, all
//! else to standard error; exit codes are those of `docs/exit-codes.md`.

mod cli;

use std::process::ExitCode;

/// As in the storage processes.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::main()
}
