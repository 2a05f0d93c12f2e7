//! Objects of every size go in and come out equal; bad input gets one clear error each, and nothing crashes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use cluster_tests::process::{Cluster, Pattern};

fn utf8(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

#[test]
fn objects_of_every_size_and_every_kind_of_bad_input() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    every_size_comes_back_equal(&cluster)?;
    ranges_are_exact(&cluster)?;
    overwritten_and_removed(&cluster)?;
    indices(&cluster)?;
    bad_input_is_one_clear_error(&cluster)?;
    garbage_on_any_port_harms_nobody(&cluster)
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

fn bad_input_is_one_clear_error(cluster: &Cluster) -> Result<()> {
    let source = cluster.dir.join("source");
    Pattern(9).write(&source, 10)?;
    let long = "n".repeat(1025);
    let cases: &[(&[&str], i32)] = &[
        (&["obj", "get", "no-such-object", "-"], 3),
        (&["obj", "stat", "no-such-object"], 3),
        (&["obj", "put", utf8(&source), &long], 2),
        (&["idx", "get", "no-such-index", "key"], 3),
        (&["pool", "show", "no-such-pool"], 3),
        (&["obj", "put", "no/such/file", "name"], 1),
    ];
    for (args, code) in cases {
        let run = cluster.redoubt(args)?;
        assert_eq!(run.code, *code, "{args:?}: {}", run.err);
        let lines: Vec<&str> = run.err.lines().filter(|l| !l.trim().is_empty()).collect();
        assert!(!lines.is_empty() && lines.len() <= 3, "one clear error, not: {}", run.err);
        assert!(!run.err.contains("panicked"), "{}", run.err);
    }
    Ok(())
}

fn garbage_on_any_port_harms_nobody(cluster: &Cluster) -> Result<()> {
    use std::io::Write;
    let file = fs::read_to_string(cluster.dir.join("cluster.json"))?;
    let ports: Vec<&str> = file.split('"').filter(|s| s.starts_with("127.0.0.1:")).collect();
    assert!(ports.len() >= 6, "{file}");
    for (seed, port) in (0..).zip(&ports) {
        let mut stream = std::net::TcpStream::connect(port).with_context(|| (*port).to_string())?;
        // The other side may close at the first wrong byte.
        let _ = stream.write_all(&Pattern(seed).bytes(100_000));
    }
    let source = cluster.dir.join("source");
    cluster.ok(&["obj", "put", utf8(&source), "after-garbage"])?;
    for node in ["node-1", "node-2", "node-3"] {
        assert_eq!(cluster.node_state(node)?, "ONLINE");
    }
    Ok(())
}
