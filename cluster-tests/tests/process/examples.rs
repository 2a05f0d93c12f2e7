//! The examples of the `client` crate run as they are.

use anyhow::Result;
use cluster_tests::process::Cluster;

#[test]
fn the_examples_of_the_client_run() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let status = cluster.json(&["dev", "status"])?;
    let addresses: Vec<&str> = status["ha"].as_array().into_iter().flatten().filter_map(|a| a.as_str()).collect();
    let out = cluster.run_within("examples/put_get", &addresses, 60)?.success()?;
    assert!(out.starts_with("3000000 bytes at version "), "{out}");
    assert_eq!(cluster.redoubt(&["obj", "stat", "sevens", "--bucket", "examples"])?.code, 3, "it deletes what it stored");
    for visit in 1..=2 {
        let out = cluster.run_within("examples/index", &addresses, 60)?.success()?;
        assert_eq!(out.lines().collect::<Vec<_>>(), [format!("visit number {visit}"), format!("visits = {visit}")]);
    }
    assert_eq!(cluster.ok(&["idx", "get", "counters", "visits"])?.trim_end(), "2");
    Ok(())
}
