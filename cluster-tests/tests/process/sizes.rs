//! Large objects go in and come out equal, in memory that does not grow with them.

use std::time::Instant;

use anyhow::Result;
use cluster_tests::process::{Cluster, Pattern, first_difference, peak_resident_bytes, say};

use crate::utf8;

const MIB: u64 = 1 << 20;
/// A storage process with a large object under way.
const NODE_BYTES_MAX: u64 = 512 * MIB;
/// A client of one.
const CLIENT_BYTES_MAX: u64 = 256 * MIB;
/// How long one transfer may take: ten times what it does.
const TRANSFER_SECONDS: u64 = 400;

/// Puts, gets and compares an object, and says what memory that took.
fn in_and_out(device_bytes: &str, size: u64) -> Result<()> {
    let cluster = Cluster::up(3, &["--device-bytes", device_bytes])?;
    let (source, back) = (cluster.dir.join("source"), cluster.dir.join("back"));
    Pattern(size).write(&source, size)?;
    for args in [["obj", "put", utf8(&source), "large"], ["obj", "get", "large", utf8(&back)]] {
        let began = Instant::now();
        let run = cluster.redoubt_within(&args, TRANSFER_SECONDS)?;
        let peak = run.peak_bytes;
        run.success()?;
        say(format!("{} of {} MiB: {} ms, client {} MiB", args[1], size / MIB, began.elapsed().as_millis(), peak / MIB));
        assert!(peak > MIB && peak < CLIENT_BYTES_MAX, "{} took {peak} bytes of memory", args[1]);
    }
    for (node, pids) in cluster.pids()? {
        let peak = peak_resident_bytes(pids.node.expect("it runs"))?;
        say(format!("{node}: {} MiB", peak / MIB));
        assert!(peak < NODE_BYTES_MAX, "{node} took {peak} bytes of memory");
    }
    assert_eq!(first_difference(&source, &back)?, None, "it came back different");
    assert_eq!(cluster.json(&["obj", "stat", "large"])?["size"], size);
    Ok(())
}

#[test]
fn an_object_of_a_gibibyte_in_bounded_memory() -> Result<()> {
    in_and_out("512MiB", 1024 * MIB)
}

/// Takes 16 GiB of disk and some minutes: `cargo test -p cluster-tests --test process four_gibibytes -- --ignored`.
#[test]
#[ignore = "takes 16 GiB of disk and some minutes"]
fn an_object_of_four_gibibytes_in_bounded_memory() -> Result<()> {
    in_and_out("1280MiB", 4096 * MIB)
}
