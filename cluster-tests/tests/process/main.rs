//! Real processes with real faults: a file for each promise. Run one at a time (`--test-threads 1`): they measure.

mod away;
mod bad_input;
mod bundle;
mod certificates;
mod damage;
mod detection;
mod devices;
mod dropping;
mod emptiness;
mod examples;
mod failures;
mod full_copy;
mod growth;
mod kills;
mod local_cluster;
mod names;
mod new_hardware;
mod objects;
mod operator;
mod rebuild;
mod recover;
mod recovery;
mod replacement;
mod s3;
mod s3_access;
mod s3_fuzz;
mod s3_tags;
mod s3_tls;
mod s3_uploads;
mod s3_versions;
mod scrub;
mod seeing;
mod sizes;
mod transactions;
mod writes_go_on;

use std::path::Path;

fn utf8(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}
