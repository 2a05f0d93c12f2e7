//! `redoubt dev`: whatever is done to a local cluster's directory, by one or by several at once, nothing is left running that `dev down`
//! does not know.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use cluster_tests::process::{Cluster, say};

#[test]
fn two_at_once_make_one_cluster_that_down_knows_whole() -> Result<()> {
    let cluster = Cluster::new()?;
    let args = ["dev", "up", "--nodes", "3", "--device-bytes", "512MiB"];
    let (first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(|| cluster.redoubt(&args));
        (cluster.redoubt(&args), other.join().expect("no panic"))
    });
    let (first, second) = (first?, second?);
    let (good, bad) = if first.code == 0 { (first, second) } else { (second, first) };
    assert_eq!((good.code, bad.code), (0, 5), "{good:?} {bad:?}");
    assert!(bad.err.contains("another `redoubt dev` command (pid "), "{}", bad.err);
    assert_eq!(cluster.running()?.len(), 6);

    // What contradicts the cluster is named; what agrees with it is not.
    let contrary = cluster.redoubt(&["dev", "up", "--nodes", "4", "--disk-groups", "2", "--device-bytes", "1GiB", "--factor", "1.5"])?;
    assert_eq!(contrary.code, 2, "{}", contrary.err);
    for named in ["--nodes 4 (it has 3)", "--device-bytes 1073741824B (it has 536870912B)", "--factor 1.5"] {
        assert!(contrary.err.contains(named), "`{named}` in {}", contrary.err);
    }
    assert!(!contrary.err.contains("--disk-groups"), "{}", contrary.err);
    cluster.ok(&args)?;
    assert_eq!(cluster.running()?.len(), 6, "it ran already");

    // Without pid files, too: `dev start` takes them for what they are, `dev down` ends them.
    for node in cluster.nodes()? {
        fs::remove_file(cluster.dir.join(&node).join("redoubt-node.pid"))?;
    }
    assert_eq!(cluster.json(&["dev", "start", "--all"])?["started"].as_array().context("a list")?.len(), 0);
    for node in cluster.nodes()? {
        fs::remove_file(cluster.dir.join(&node).join("redoubt-node.pid"))?;
    }
    assert_eq!(cluster.json(&["dev", "down"])?["stopped"], 6);
    assert_eq!(cluster.running()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_failed_up_takes_down_what_it_started() -> Result<()> {
    let cluster = Cluster::new()?;
    let failed = cluster.redoubt(&["dev", "up", "--nodes", "3", "--device-bytes", "512MiB", "--wait", "0"])?;
    assert_eq!(failed.code, 5, "{}", failed.err);
    assert!(failed.err.contains("the 6 processes that it had started are stopped again"), "{}", failed.err);
    assert_eq!(cluster.running()?, Vec::<String>::new());

    // Ctrl-C, in the middle.
    let log = cluster.dir.join("up.log");
    let dir = cluster.dir.to_str().context("UTF-8")?;
    let up = cluster.start_beside("redoubt", &["dev", "up", "--dir", dir], &log)?;
    cluster.wait_for("six processes", Duration::from_secs(20), || Ok(cluster.running()?.len() == 6))?;
    up.interrupt()?;
    assert_eq!(up.code(Duration::from_secs(20))?, 130, "{}", fs::read_to_string(&log)?);
    say(fs::read_to_string(&log)?);
    assert_eq!(cluster.running()?, Vec::<String>::new());
    Ok(())
}
