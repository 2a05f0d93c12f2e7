//! Transactions over keys of many groups while nodes are killed: all or nothing of each, after everything is well again; and whoever was
//! answered sees all of it at once, at the primaries and at any member that is near.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use client::{Client, Error, Transaction};
use cluster_tests::process::{Clients, Cluster, INDEX, Signal, say, send};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::watch;

const ONLINE: Duration = Duration::from_secs(30);
/// How long what is unfinished may take once all nodes are ONLINE.
const SETTLED: Duration = Duration::from_secs(30);
/// Who works at once.
const WORKERS: u64 = 4;
/// Sets of keys of each; a transaction writes all keys of one.
const SETS: u64 = 8;
/// Keys of a set, over many groups.
const KEYS: u64 = 6;
/// How many transactions have to be answered for the test to mean something.
const ANSWERED_MIN: u64 = 100;

fn rounds(usual: u32) -> u32 {
    std::env::var("REDOUBT_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn key(worker: u64, set: u64, number: u64) -> Vec<u8> {
    format!("set-{worker}-{set}/{number}").into_bytes()
}

/// What a set of keys is known to hold: the number of the transaction that wrote it, none where it is deleted.
#[derive(Clone, Debug, Default)]
struct Known {
    /// What the last that was answered left.
    answered: Option<u64>,
    /// What those after it, whose outcome is not known, may have left: the last of them.
    perhaps: Vec<Option<u64>>,
}

async fn values(client: &Client, worker: u64, set: u64) -> Result<Vec<Option<u64>>, Error> {
    let mut values = Vec::new();
    for number in 0..KEYS {
        let entry = client.index_get(INDEX, &key(worker, set, number)).await?;
        values.push(entry.map(|entry| u64::from_be_bytes(entry.value.try_into().expect("eight bytes"))));
    }
    Ok(values)
}

/// One worker's transactions, one after the other; what it knows in the end, and how many were answered.
async fn work(client: Client, near: Client, worker: u64, seed: u64, over: watch::Receiver<bool>) -> Result<(Vec<Known>, u64)> {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ worker);
    let mut known = vec![Known::default(); SETS as usize];
    let (mut answered, mut number) = (0, 0u64);
    while !*over.borrow() {
        number += 1;
        let set = random.random_range(0..SETS);
        let deletes = random.random_range(0..10) == 0;
        let mut transaction = Transaction::new();
        for at in 0..KEYS {
            let key = key(worker, set, at);
            if deletes {
                transaction.delete(INDEX, &key)
            } else {
                transaction.put(INDEX, &key, &number.to_be_bytes())
            };
        }
        let wrote = (!deletes).then_some(number);
        let of_set = &mut known[set as usize];
        match client.commit(&transaction).await {
            Ok(committed) => {
                ensure!(committed.groups > 1, "{} keys lie in {} group", committed.changes, committed.groups);
                answered += 1;
                *of_set = Known { answered: wrote, perhaps: Vec::new() };
                if random.random_range(0..4) == 0 {
                    let reader = if random.random() { &client } else { &near };
                    let found = values(reader, worker, set).await.context("a read after the answer")?;
                    ensure!(found == vec![wrote; KEYS as usize], "set {worker}-{set} is {found:?} after the answer to {wrote:?}");
                }
            }
            Err(Error::OutcomeUnknown { .. }) => of_set.perhaps.push(wrote),
            Err(error) if error.is_retryable() => {}
            Err(error) => return Err(error).context("a transaction"),
        }
    }
    Ok((known, answered))
}

#[test]
#[ignore = "one run of ninety failed on an overloaded machine, and it is not known why: by hand until it is"]
fn transactions_over_many_groups_are_all_or_nothing_past_killed_nodes() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let clients = Clients::connect(&cluster, Duration::from_secs(15))?;
    let near = Clients::reading_near(&cluster, Duration::from_secs(15))?;
    let seed = std::env::var("REDOUBT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    say(format!("REDOUBT_SEED={seed}"));
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (end, over) = watch::channel(false);
    let work = |worker| clients.spawn(work(clients.client().clone(), near.client().clone(), worker, seed, over.clone()));
    let workers: Vec<_> = (0..WORKERS).map(work).collect();
    let nodes = cluster.nodes()?;
    for round in 1..=rounds(2) {
        std::thread::sleep(Duration::from_millis(random.random_range(300..1500)));
        let node = nodes.choose(&mut random).expect("there are nodes");
        let pids = cluster.pids_of(node)?;
        // The storage process alone, or all of the node; at times all storage processes at once.
        let (what, killed) = match random.random_range(0..4) {
            0 => ("all storage processes".into(), cluster.pids()?.values().filter_map(|pids| pids.node).collect()),
            1 => (format!("the storage process of {node}"), pids.node.into_iter().collect::<Vec<u32>>()),
            _ => (node.clone(), pids.both()),
        };
        send(&killed, Signal::KILL)?;
        std::thread::sleep(Duration::from_millis(random.random_range(50..2000)));
        cluster.ok(&["dev", "up"])?;
        cluster.all_online(ONLINE)?;
        say(format!("round {round}: {what} killed and back"));
    }
    std::thread::sleep(Duration::from_millis(500));
    end.send(true).context("the workers listen")?;
    let mut answered = 0;
    for (worker, task) in (0..).zip(workers) {
        let (known, of_worker) = clients.wait(task)?.with_context(|| format!("worker {worker}"))?;
        answered += of_worker;
        for (set, known) in (0..).zip(known) {
            settles(&clients, worker, set, &known)?;
            settles(&near, worker, set, &known)?;
        }
    }
    say(format!("{answered} transactions over several groups answered"));
    ensure!(answered >= ANSWERED_MIN, "{answered} transactions were answered: too few to mean anything");
    clients.close();
    near.close();
    Ok(())
}

/// All keys of a set come to hold the same, and what was answered last or may have happened after it.
fn settles(clients: &Clients, worker: u64, set: u64, known: &Known) -> Result<()> {
    let began = Instant::now();
    loop {
        let found = clients.wait(values(clients.client(), worker, set))?;
        let whole = found.iter().all(|value| *value == found[0]);
        if whole && (found[0] == known.answered || known.perhaps.contains(&found[0])) {
            return Ok(());
        }
        if began.elapsed() > SETTLED {
            bail!("set {worker}-{set} holds {found:?}; {known:?} is known of it");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_file_of_changes_is_applied_whole_or_not_at_all() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    cluster.ok(&["idx", "create", INDEX])?;
    let file = cluster.dir.join("changes");
    let lines: String = (0..50).map(|n| format!("put\tkey-{n}\tvalue\\x0a{n}\n")).collect();
    std::fs::write(&file, lines + "del\tnobody\n")?;
    let path = file.to_str().context("a path")?;
    let done = cluster.json(&["idx", "apply", INDEX, "--file", path])?;
    ensure!(done["changes"] == 51 && done["groups"].as_u64() > Some(1), "{done}");
    ensure!(cluster.json(&["idx", "get", INDEX, "key-7", "--read", "nearest"])?["value"] == "value\\x0a7");
    std::fs::write(&file, "put\tkey-1\tchanged\ndel\tkey-2\nput-new\tkey-7\tx\n")?;
    let refused = cluster.redoubt(&["idx", "apply", INDEX, "--file", path])?;
    ensure!(refused.code == 4, "{refused:?}");
    ensure!(cluster.json(&["idx", "get", INDEX, "key-1"])?["value"] == "value\\x0a1");
    std::fs::write(&file, "put\tkey-1\n")?;
    let wrong = cluster.redoubt(&["idx", "apply", INDEX, "--file", path])?;
    ensure!(wrong.code == 2, "{wrong:?}");
    Ok(())
}
