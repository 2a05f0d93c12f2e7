//! Names of any bytes, through the command line and back; buckets that have to be made; what `rm -r` and `get -r` say.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use anyhow::{Context, Result};
use cluster_tests::process::{Cluster, Pattern};
use serde_json::Value;

use crate::utf8;

/// Names as they are stored, and as they are shown.
const NAMES: [(&[u8], &str); 5] = [
    (b"odd/new\nline", "odd/new\\x0aline"),
    (b"odd/new\\x0aline", "odd/new\\\\x0aline"),
    (b"odd/\xff\xfe", "odd/\\xff\\xfe"),
    (b"odd/plain \xc3\xa4", "odd/plain \u{e4}"),
    (b"odd/\xe2\x80\xaehidden", "odd/\\xe2\\x80\\xaehidden"),
];

/// How often a get that was too quick is tried again.
const INTERRUPTS_MAX: usize = 50;

fn names(listing: &Value) -> Result<Vec<String>> {
    let entries = listing["entries"].as_array().context("entries")?;
    entries.iter().map(|entry| entry["name"].as_str().map(String::from).context("a name")).collect()
}

#[test]
fn every_name_is_listed_apart_and_taken_back_as_it_was_listed() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let tree = cluster.dir.join("tree");
    fs::create_dir(&tree)?;
    for (number, (name, _)) in NAMES.iter().enumerate() {
        let file = name.rsplit(|byte| *byte == b'/').next().expect("a last part");
        fs::write(tree.join(OsStr::from_bytes(file)), format!("number {number}"))?;
    }
    cluster.ok(&["obj", "put", utf8(&tree), "odd"])?;
    let shown = cluster.ok(&["obj", "ls", "odd/"])?;
    let listed = names(&cluster.json(&["obj", "ls", "odd/"])?)?;
    assert_eq!(shown.lines().collect::<Vec<_>>(), listed, "text and JSON say the same");
    let mut expected: Vec<(&[u8], &str)> = NAMES.to_vec();
    expected.sort_unstable();
    assert_eq!(listed, expected.iter().map(|(_, shown)| *shown).collect::<Vec<_>>());
    for (number, (_, shown)) in NAMES.iter().enumerate() {
        assert_eq!(cluster.ok(&["obj", "get", shown, "-"])?, format!("number {number}"));
        assert_eq!(cluster.json(&["obj", "stat", shown])?["name"], *shown);
    }
    // A tree comes back with the very same file names.
    let back = cluster.dir.join("back");
    cluster.ok(&["obj", "get", "-r", "odd/", utf8(&back)])?;
    cluster_tests::process::compare_trees(&tree, &back)?;
    assert_eq!(cluster.redoubt(&["obj", "stat", "odd/new\\nline"])?.code, 2, "no escape of ours");

    for (number, (_, shown)) in NAMES.iter().enumerate().skip(1) {
        cluster.ok(&["obj", "rm", shown])?;
        assert_eq!(names(&cluster.json(&["obj", "ls", "odd/"])?)?.len(), NAMES.len() - number);
    }

    // Keys of an index likewise.
    cluster.ok(&["idx", "create", "odd"])?;
    cluster.ok(&["idx", "put", "odd", "a\\x00b", "1"])?;
    cluster.ok(&["idx", "put", "odd", "a\\\\x00b", "2"])?;
    assert_eq!(cluster.ok(&["idx", "scan", "odd"])?, "a\\x00b\t1\na\\\\x00b\t2\n");
    assert_eq!(cluster.ok(&["idx", "get", "odd", "a\\x00b"])?, "1");
    Ok(())
}

#[test]
fn one_object_that_is_no_file_does_not_keep_the_others() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let source = cluster.dir.join("source");
    Pattern(3).write(&source, 100_000)?;
    let file = utf8(&source);
    for name in ["mixed/a", "mixed/tail/", "mixed/../up", "mixed/z"] {
        cluster.ok(&["obj", "put", file, name])?;
    }
    let back = cluster.dir.join("back");
    let run = cluster.redoubt(&["obj", "get", "-r", "mixed/", utf8(&back)])?;
    assert_eq!(run.code, 2, "{}", run.err);
    for says in ["left out: the name `mixed/tail/`", "left out: the name `mixed/../up`", "2 objects were left out, all others are there"] {
        assert!(run.err.contains(says), "`{says}` in {}", run.err);
    }
    assert!(back.join("a").is_file() && back.join("z").is_file() && !cluster.dir.join("up").exists());

    // By itself each of them comes.
    let alone = cluster.dir.join("alone");
    cluster.ok(&["obj", "get", "mixed/tail/", utf8(&alone)])?;
    assert_eq!(fs::read(&alone)?, fs::read(&source)?);
    let nowhere = cluster.redoubt(&["obj", "get", "mixed/tail/", utf8(&back)])?;
    assert!(nowhere.code == 2 && nowhere.err.contains("say FILE with the file's name"), "{}", nowhere.err);
    // What ends with a slash and is no object is a tree still.
    assert_eq!(cluster.redoubt(&["obj", "get", "mixed/", utf8(&cluster.dir.join("again"))])?.code, 2);

    let removed = cluster.redoubt(&["obj", "rm", "-r", "mixed/"])?;
    assert_eq!((removed.code, removed.err.trim()), (0, "4 objects deleted"));
    let nothing = cluster.redoubt(&["obj", "rm", "-r", "mixed/"])?;
    assert!(nothing.code == 3 && nothing.err.contains("no object's name"), "{}", nothing.err);
    assert_eq!(cluster.json(&["obj", "rm", "-rf", "mixed/"])?["deleted"], 0);
    Ok(())
}

#[test]
fn buckets_are_made_and_not_mistyped() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let source = cluster.dir.join("source");
    Pattern(3).write(&source, 10)?;
    let file = utf8(&source);
    assert_eq!(cluster.ok(&["bucket", "list"])?, "default\n", "it is there from the start");
    assert_eq!(cluster.ok(&["obj", "ls"])?, "");
    let typo = cluster.redoubt(&["obj", "put", file, "name", "--bucket", "phtos"])?;
    assert!(typo.code == 3 && typo.err.contains("bucket `phtos` does not exist; `redoubt bucket create"), "{}", typo.err);
    assert_eq!(cluster.ok(&["bucket", "list"])?, "default\n");
    cluster.ok(&["bucket", "create", "photos"])?;
    assert_eq!(cluster.redoubt(&["bucket", "create", "photos"])?.code, 4);
    cluster.ok(&["obj", "put", file, "name", "--bucket", "photos"])?;
    let full = cluster.redoubt(&["bucket", "drop", "photos"])?;
    assert!(full.code == 4 && full.err.contains("--recursive"), "{}", full.err);
    cluster.ok(&["bucket", "drop", "-r", "photos"])?;
    assert_eq!(cluster.ok(&["bucket", "list"])?, "default\n");
    let gone = cluster.redoubt(&["idx", "put", "nobody", "key", "value"])?;
    assert!(gone.code == 3 && gone.err.contains("`redoubt idx create NAME`"), "{}", gone.err);
    Ok(())
}

#[test]
fn an_interrupted_get_leaves_no_part_of_a_file() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let source = cluster.dir.join("source");
    Pattern(4).write(&source, 64 << 20)?;
    cluster.ok(&["obj", "put", utf8(&source), "large"])?;
    let to = cluster.dir.join("to");
    fs::create_dir(&to)?;
    let parts = || -> Result<usize> { Ok(fs::read_dir(&to)?.count()) };
    let log = cluster.dir.join("get.log");
    let file = to.join("file");
    for _ in 0..INTERRUPTS_MAX {
        let get = cluster.start_beside("redoubt", &["obj", "get", "large", utf8(&file)], &log)?;
        cluster.wait_for("a part of the file", Duration::from_secs(20), || Ok(parts()? > 0))?;
        get.interrupt()?;
        match get.code(Duration::from_secs(10))? {
            // It was through before it was seen: that says nothing.
            0 => fs::remove_file(&file)?,
            code => {
                assert_eq!(code, 130, "{}", fs::read_to_string(&log)?);
                assert_eq!(parts()?, 0, "{:?}", fs::read_dir(&to)?.collect::<Vec<_>>());
                return Ok(());
            }
        }
    }
    panic!("{INTERRUPTS_MAX} gets were through before they could be interrupted");
}
