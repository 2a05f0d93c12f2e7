//! Bad input through the command line, in configurations, and on every port: one clear error each that says what to do next; nothing is
//! lost, nothing crashes.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use client::{Client, Options};
use cluster_tests::process::{Clients, Cluster, Kind, Pattern, Run, Worked, say};
use net::fabric::{Endpoint, EndpointConfig};
use net::{Operation, Peer, Request, Transport};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::utf8;

/// How long a foreign connection is waited for before it is left alone.
const PATIENCE: Duration = Duration::from_millis(500);

/// One clear error: the exit code, and few lines that say this.
fn is_clear(run: &Run, code: i32, says: &str) {
    assert_eq!(run.code, code, "`{}`: {}", run.command, run.err);
    let lines: Vec<&str> = run.err.lines().filter(|l| !l.trim().is_empty()).collect();
    assert!(!lines.is_empty() && lines.len() <= 3, "one clear error of `{}`, not: {}", run.command, run.err);
    assert!(run.err.contains(says) && !run.err.contains("panicked"), "`{}` should say `{says}`: {}", run.command, run.err);
}

#[test]
fn what_makes_no_sense_is_one_clear_error() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let source = cluster.dir.join("source");
    Pattern(9).write(&source, 10)?;
    let long = "n".repeat(1025);
    cluster.ok(&["idx", "create", "people"])?;
    let file = utf8(&source);
    let cases: &[(&[&str], i32, &str)] = &[
        (&["obj", "get", "no-such-object", "-"], 3, "no-such-object does not exist"),
        (&["obj", "stat", "no-such-object"], 3, "no-such-object does not exist"),
        (&["obj", "rm", "no-such-object"], 3, "no-such-object does not exist"),
        (&["obj", "get", "name", "-", "--bucket", "no-such-bucket"], 3, "bucket `no-such-bucket` does not exist"),
        (&["obj", "put", file, &long], 2, "1025 bytes: say 1 to 1024"),
        (&["obj", "put", file, ""], 2, "0 bytes: say 1 to 1024"),
        (&["obj", "put", file, "name", "--pool", "no-such-pool"], 3, "pool `no-such-pool` does not exist"),
        (&["obj", "put", file, "name", "--pool", "meta"], 2, "choose one of scheme N+K"),
        (&["obj", "put", "no/such/file", "name"], 1, "no/such/file"),
        (&["idx", "get", "no-such-index", "key"], 3, "index `no-such-index` does not exist"),
        (&["idx", "get", "people", "no-such-key"], 3, "no-such-key"),
        (&["idx", "del", "people", "no-such-key"], 3, "no-such-key"),
        (&["idx", "put", "people", &long, "value"], 2, "1025 bytes: say 1 to 1024"),
        (&["idx", "create", "people"], 4, "exists already; choose another name"),
        (&["idx", "create", "a/b"], 2, "slash"),
        (&["pool", "show", "no-such-pool"], 3, "`redoubt pool list` shows which do"),
        (&["dev", "kill", "node-9"], 3, "there are node-1, node-2, node-3"),
    ];
    let worked = Clients::connect(&cluster, Duration::from_secs(15))?;
    let kept = worked.fill(Kind::Object, "kept", &[70_000], 1)?;
    for (args, code, says) in cases {
        is_clear(&cluster.redoubt(args)?, *code, says);
    }
    worked.verify(&Worked { objects: kept, ..Worked::default() })?;
    configurations(&cluster)
}

/// Processes that are started with a configuration that cannot be end at once and say why; those that run do not notice.
fn configurations(cluster: &Cluster) -> Result<()> {
    let before = cluster.pids()?;
    let copy = cluster.dir.join("copy.toml");
    let with = |file: &str, from: &str, to: &str| -> Result<()> {
        let text = fs::read_to_string(cluster.dir.join("node-1").join(file))?;
        assert!(text.contains(from), "{file} has {from}: {text}");
        Ok(fs::write(&copy, text.replace(from, to))?)
    };
    with("ha.toml", "name = \"node-2\"", "name = \"node-1\"")?;
    is_clear(&cluster.run_within("redoubt-ha", &["--config", utf8(&copy)], 20)?, 1, "node name `node-1` is given twice");
    with("node.toml", "node = \"node-1\"", "node = \"node-9\"")?;
    let stranger = cluster.run_within("redoubt-node", &["--config", utf8(&copy)], 20)?;
    assert!(stranger.code == 1 && stranger.err.contains("node-9"), "{}", stranger.err);
    // A second process of a node that runs: as it is configured, then with directories of its own.
    with("node.toml", "node = \"node-1\"", "node = \"node-1\"")?;
    let second = cluster.run_within("redoubt-node", &["--config", utf8(&copy)], 20)?;
    assert!(second.code == 1 && second.err.contains("in use by another process"), "{}", second.err);
    // It waits until that one is gone, and says so.
    with("node.toml", "/dev-", "/elsewhere-")?;
    let log = cluster.dir.join("second.log");
    let usurper = cluster.start_beside("redoubt-node", &["--config", utf8(&copy)], &log)?;
    let began = Instant::now();
    while !fs::read_to_string(&log)?.contains("was another node's name meant?") {
        assert!(began.elapsed() < Duration::from_secs(10), "{}", fs::read_to_string(&log)?);
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(usurper);
    assert_eq!(cluster.pids()?, before, "nobody was disturbed");
    cluster.all_online(Duration::from_secs(5))
}

#[test]
fn garbage_on_any_port_harms_nobody() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let clients = Clients::connect(&cluster, Duration::from_secs(15))?;
    let kept = clients.fill(Kind::Object, "kept", &[500, 300_000], 6)?;
    let before = cluster.pids()?;
    let status = cluster.json(&["dev", "status"])?;
    let mut random = ChaCha8Rng::seed_from_u64(4);
    for node in status["nodes"].as_array().context("nodes")? {
        for service in ["ha", "fabric"] {
            let address = node[service].as_str().context("an address")?;
            let talk = if service == "ha" { talk_to_ha(&clients, address) } else { talk_to_fabric(&clients, &status, address) };
            let talk = talk.with_context(|| format!("{service} of {}", node["name"]))?;
            assert!(talk.len() > 60, "{} bytes of a real conversation with {service}", talk.len());
            let count = throw(address, &talk, &mut random)?;
            say(format!("{}: {count} kinds of garbage on {service}", node["name"]));
        }
    }
    assert_eq!(cluster.pids()?, before, "nobody has ended");
    for node in cluster.nodes()? {
        assert_eq!(cluster.node_state(&node)?, "ONLINE");
        for log in ["redoubt-ha.log", "redoubt-node.log"] {
            let text = fs::read_to_string(cluster.dir.join(&node).join(log))?;
            assert!(!text.contains("panicked"), "{log} of {node}: {text}");
        }
    }
    clients.fill(Kind::Object, "after", &[500, 300_000], 4)?;
    // Somebody who connects only now, too.
    Clients::connect(&cluster, Duration::from_secs(15))?.verify(&Worked { objects: kept, ..Worked::default() })
}

/// Sends what is no protocol, and what begins as the right one and goes wrong at each of its first bytes, lengths among them.
fn throw(address: &str, talk: &[u8], random: &mut ChaCha8Rng) -> Result<usize> {
    let mut all: Vec<Vec<u8>> = vec![
        Vec::new(),
        vec![0; 100_000],
        vec![0xff; 100_000],
        (0..100_000).map(|_| random.random()).collect(),
        b"GET / HTTP/1.1\r\nHost: redoubt\r\nContent-Length: 99999999999\r\n\r\n".to_vec(),
        // TLS: a ClientHello of the greatest length, cut off.
        [&[0x16, 3, 1, 0xff, 0xff, 1, 0, 0xff, 0xff][..], &[7; 200]].concat(),
        // HTTP/2: a frame longer than any may be.
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1], &[1; 500]].concat(),
        talk.to_vec(),
        [talk, &[0xff; 5000]].concat(),
    ];
    for at in (0..talk.len().min(96)).chain((0..40).map(|_| random.random_range(0..talk.len()))) {
        let mut wrong = talk.to_vec();
        wrong[at] = !wrong[at];
        all.push(wrong);
        all.push(talk[..at].to_vec());
    }
    let mut open = Vec::new();
    for bytes in &all {
        let mut stream = TcpStream::connect(address).with_context(|| address.to_string())?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // The other side may close at the first wrong byte, or not read on.
        let _ = stream.write_all(bytes);
        // Some stay, and say nothing more.
        if open.len() < 20 {
            open.push(stream);
        }
    }
    Ok(all.len())
}

/// What a real client says to an HA daemon first.
fn talk_to_ha(clients: &Clients, address: &str) -> Result<Vec<u8>> {
    overheard(address, |address| {
        let options = Options { timeout: Duration::from_secs(5), ..Options::default() };
        clients.wait(Client::connect(&[address], options)).map(drop).map_err(Into::into)
    })
}

/// What a real client says to a storage process first.
fn talk_to_fabric(clients: &Clients, status: &serde_json::Value, address: &str) -> Result<Vec<u8>> {
    let cluster = status["cluster"].as_str().context("a cluster id")?.parse()?;
    overheard(address, |address| {
        clients.wait(async {
            let endpoint = Endpoint::start(EndpointConfig::client(net::Identity::client(cluster)))?;
            let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
            endpoint.call(&Peer::at(address.to_string()), Request::new(Operation::Usage, Vec::new()), deadline).await?;
            Ok(())
        })
    })
}

/// The first bytes that somebody sends to `address` while he does it.
fn overheard(address: &str, does: impl FnOnce(&str) -> Result<()>) -> Result<Vec<u8>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let between = listener.local_addr()?.to_string();
    let said = Arc::new(Mutex::new(Vec::new()));
    let (heard, to) = (said.clone(), address.to_string());
    std::thread::spawn(move || -> Result<()> {
        // The first connection is the one that is written down; the others are carried too. The thread ends with the test.
        for (number, near) in listener.incoming().enumerate() {
            let (near, far) = (near?, TcpStream::connect(&to)?);
            let heard = (number == 0).then(|| heard.clone());
            let (near_in, far_in) = (near.try_clone()?, far.try_clone()?);
            std::thread::spawn(move || carry(near_in, far, heard.as_deref()));
            std::thread::spawn(move || carry(far_in, near, None));
        }
        Ok(())
    });
    does(&between)?;
    let said = said.lock().expect("nobody panics with this lock held").clone();
    Ok(said)
}

fn carry(mut from: TcpStream, mut to: TcpStream, heard: Option<&Mutex<Vec<u8>>>) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if let Some(heard) = heard {
            heard.lock().expect("nobody panics with this lock held").extend_from_slice(&bytes[..count]);
        }
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    // Either side may be gone already.
    let _ = to.shutdown(std::net::Shutdown::Both);
}
