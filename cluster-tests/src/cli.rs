//! What `cluster-tests` can be told, a file for each of its verbs.

pub mod bench;
pub mod model;
pub mod recording;
pub mod run;
pub mod sim;

/// Exit code where the machine does not permit what a scenario needs.
pub const NOT_PERMITTED: u8 = 3;
/// Exit code where a run could not be made: a file is wrong, a cluster does not start.
pub const NOT_RUN: u8 = 2;

/// Form of a report.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One line of JSON.
    Json,
}
