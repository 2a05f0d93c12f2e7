//! Devices that come back empty: their groups are copied to them while clients write, and they count again.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use cluster_tests::process::Cluster;

/// Far more records in every group than a log keeps of what all have.
const BENCH: &[&str] = &["bench", "kv", "--index", "filled", "--clients", "32", "--operations"];
/// Rows that are looked at one by one.
const ROWS: u32 = 12;

fn copies_begun(cluster: &Cluster) -> Result<usize> {
    let mut count = 0;
    for node in ["node-1", "node-2", "node-3"] {
        let log = fs::read_to_string(cluster.dir.join(node).join("redoubt-node.log"))?;
        count += log.matches("a full copy begins to go out").count();
    }
    Ok(count)
}

fn bench(cluster: &Cluster, operations: &str) -> Result<()> {
    let arguments: Vec<&str> = BENCH.iter().copied().chain([operations]).collect();
    cluster.redoubt_within(&arguments, 180)?.success().map(drop)
}

#[test]
fn wiped_devices_are_filled_while_clients_write_and_serve_when_others_die() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    cluster.ok(&["idx", "create", "filled"])?;
    cluster.ok(&["idx", "create", "looked-at"])?;
    let put = |key: u32, value: &str| cluster.ok(&["idx", "put", "looked-at", &format!("k{key}"), value]).map(drop);
    let is = |key: u32| Ok::<_, anyhow::Error>(cluster.ok(&["idx", "get", "looked-at", &format!("k{key}")])?.trim().to_owned());
    for key in 0..ROWS {
        put(key, &format!("before-{key}"))?;
    }
    bench(&cluster, "6000")?;
    cluster.kill("node-2")?;
    cluster.ok(&["dev", "wipe", "node-2"])?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let writer = scope.spawn(|| -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                bench(&cluster, "500")?;
            }
            Ok(())
        });
        let acted = (|| {
            cluster.start("node-2")?;
            put(0, "meanwhile")?;
            cluster.wait_state("node-2", "ONLINE", Duration::from_secs(90))
        })();
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("the writer does not panic")?;
        println!("ONLINE {:?} after its start with empty devices; {} copies", acted?, copies_begun(&cluster)?);
        Ok(())
    })?;
    assert!(copies_begun(&cluster)? > 0, "the logs were long enough to need no copy");
    // Rows are there again, and units of objects soon.
    cluster.wait_for("all is well again", Duration::from_secs(60), || Ok(cluster.ha(&["status"])?["health"] == "healthy"))?;
    // What was copied has to do for a majority now.
    cluster.kill("node-1")?;
    for key in 0..ROWS {
        assert_eq!(is(key)?, if key == 0 { "meanwhile".to_owned() } else { format!("before-{key}") });
    }
    put(1, "after")?;
    cluster.start("node-1")?;
    cluster.wait_state("node-1", "ONLINE", Duration::from_secs(30))?;
    assert_eq!(is(1)?, "after");
    Ok(())
}
