//! Objects of every size go in and come out equal; indices keep their conditions.

use std::fs;

use anyhow::Result;
use cluster_tests::process::{Cluster, Pattern};

use crate::utf8;

#[test]
fn objects_of_every_size_come_back_equal_and_indices_keep_conditions() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    every_size_comes_back_equal(&cluster)?;
    ranges_are_exact(&cluster)?;
    overwritten_and_removed(&cluster)?;
    indices(&cluster)
}

fn every_size_comes_back_equal(cluster: &Cluster) -> Result<()> {
    let (source, back) = (cluster.dir.join("source"), cluster.dir.join("back"));
    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    let sizes =
        [0, 1, 4095, 4096, 64 * KIB, 64 * KIB + 1, 256 * KIB - 1, MIB, MIB + 1, 16 * MIB, 16 * MIB + 3, 64 * MIB + 1, 200 * MIB + 17];
    for size in sizes {
        Pattern(size).write(&source, size)?;
        let name = format!("sizes/{size}");
        cluster.ok(&["obj", "put", utf8(&source), &name])?;
        cluster.ok(&["obj", "get", &name, utf8(&back)])?;
        assert!(fs::read(&source)? == fs::read(&back)?, "{size} bytes came back different");
        let stat = cluster.json(&["obj", "stat", &name])?;
        assert_eq!(stat["size"], size, "{stat}");
        fs::remove_file(&back)?;
    }
    let listed = cluster.ok(&["obj", "ls", "sizes/"])?;
    assert_eq!(listed.lines().count(), sizes.len(), "{listed}");
    Ok(())
}

fn ranges_are_exact(cluster: &Cluster) -> Result<()> {
    let whole = Pattern(16 * 1024 * 1024 + 3).bytes(16 * 1024 * 1024 + 3);
    for (first, last) in [(0, 0), (65535, 65536), (1, 1_000_000), (16_777_215, 16_777_218), (5_000_000, 9_000_000)] {
        let range = format!("{first}-{last}");
        let run = cluster.redoubt(&["obj", "get", "sizes/16777219", "-", "--range", &range])?;
        assert_eq!(run.code, 0, "{}", run.err);
        assert!(run.out == whole[first..=last], "range {range} is wrong");
    }
    Ok(())
}

fn overwritten_and_removed(cluster: &Cluster) -> Result<()> {
    let (source, back) = (cluster.dir.join("source"), cluster.dir.join("back"));
    for (seed, size) in [(1, 100), (2, 3_000_000), (3, 70_000), (4, 0)] {
        Pattern(seed).write(&source, size)?;
        cluster.ok(&["obj", "put", utf8(&source), "again"])?;
        cluster.ok(&["obj", "get", "again", utf8(&back)])?;
        assert!(fs::read(&source)? == fs::read(&back)?, "the object has another's bytes");
    }
    cluster.ok(&["obj", "rm", "again"])?;
    assert_eq!(cluster.redoubt(&["obj", "get", "again", utf8(&back)])?.code, 3, "a removed object is not found");
    Ok(())
}

fn indices(cluster: &Cluster) -> Result<()> {
    cluster.ok(&["idx", "create", "people"])?;
    cluster.ok(&["idx", "put", "people", "ada", "1815"])?;
    assert_eq!(cluster.ok(&["idx", "get", "people", "ada"])?.trim_end(), "1815");
    assert_eq!(cluster.redoubt(&["idx", "put", "people", "ada", "0", "--if-absent"])?.code, 4);
    cluster.ok(&["idx", "put", "people", "alan", "1912", "--if-absent"])?;
    let scan = cluster.ok(&["idx", "scan", "people"])?;
    assert!(scan.contains("ada") && scan.contains("alan"), "{scan}");
    cluster.ok(&["idx", "del", "people", "ada"])?;
    assert_eq!(cluster.redoubt(&["idx", "get", "people", "ada"])?.code, 3);
    cluster.ok(&["idx", "drop", "people"])?;
    assert_ne!(cluster.redoubt(&["idx", "get", "people", "alan"])?.code, 0);
    Ok(())
}
