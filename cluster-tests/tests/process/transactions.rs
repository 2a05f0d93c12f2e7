//! Transactions over keys of many groups while nodes are killed: all or nothing of each, after everything is well again; and whoever was
//! answered sees all of it at once, at the primaries and at any member that is near.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use client::{Client, Error, Transaction};
use cluster_tests::process::{Clients, Cluster, INDEX, Signal, say, send};
use rand::seq::{IndexedMutRandom, IndexedRandom};
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
/// How long anything may take, and how long half of the workers wait for an answer: less than it takes until a dead node's groups serve again.
const PATIENT: Duration = Duration::from_secs(15);
const HASTY: Duration = Duration::from_millis(300);
/// Keys that lie in all groups of the index.
const EVERYWHERE: u64 = 500;
/// How many transactions have to be answered for the test to mean something.
const ANSWERED_MIN: u64 = 100;

fn rounds(usual: u32) -> u32 {
    std::env::var("REDOUBT_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn key(worker: u64, set: u64, number: u64) -> Vec<u8> {
    format!("set-{worker}-{set}/{number}").into_bytes()
}

/// What a set of keys is known to hold: the number of the transaction that wrote it, none where it is deleted.
#[derive(Clone, Debug)]
struct Known {
    set: u64,
    /// What the last that was answered left.
    answered: Option<u64>,
    /// What the one after it leaves whose outcome is not known, if it is executed.
    in_doubt: Option<Option<u64>>,
}

impl Known {
    fn new(set: u64) -> Self {
        Self { set, answered: None, in_doubt: None }
    }

    fn allows(&self, found: Option<u64>) -> bool {
        found == self.answered || self.in_doubt == Some(found)
    }
}

/// What one worker has done.
struct Worked {
    sets: Vec<Known>,
    answered: u64,
    in_doubt: u64,
}

async fn values(client: &Client, worker: u64, set: u64) -> Result<Vec<Option<u64>>, Error> {
    let mut values = Vec::new();
    for number in 0..KEYS {
        let entry = client.index_get(INDEX, &key(worker, set, number)).await?;
        values.push(entry.map(|entry| u64::from_be_bytes(entry.value.try_into().expect("eight bytes"))));
    }
    Ok(values)
}

/// One worker's transactions, one after the other.
///
/// A set whose last transaction has an outcome that is not known is not touched again: that one may be executed at any later time, and without
/// isolation between groups some of its keys before, others after what another transaction writes to the same.
async fn work(client: Client, near: Client, worker: u64, seed: u64, over: watch::Receiver<bool>) -> Result<Worked> {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ worker);
    let mut sets: Vec<Known> = (0..SETS).map(Known::new).collect();
    let (mut left, mut answered, mut number) = (Vec::new(), 0, 0u64);
    let patience = if worker.is_multiple_of(2) { 2 * PATIENT } else { HASTY };
    while !*over.borrow() {
        number += 1;
        let next = SETS + left.len() as u64;
        let known = sets.choose_mut(&mut random).expect("there are sets");
        let deletes = random.random_range(0..10) == 0;
        let mut transaction = Transaction::new();
        for at in 0..KEYS {
            let key = key(worker, known.set, at);
            if deletes {
                transaction.delete(INDEX, &key)
            } else {
                transaction.put(INDEX, &key, &number.to_be_bytes())
            };
        }
        let wrote = (!deletes).then_some(number);
        match tokio::time::timeout(patience, client.commit(&transaction)).await {
            Ok(Ok(committed)) => {
                ensure!(committed.groups > 1, "{} keys lie in {} group", committed.changes, committed.groups);
                answered += 1;
                known.answered = wrote;
                if random.random_range(0..4) == 0 {
                    let reader = if random.random() { &client } else { &near };
                    let found = values(reader, worker, known.set).await.context("a read after the answer")?;
                    ensure!(found == vec![wrote; KEYS as usize], "set {worker}-{} is {found:?} after the answer to {wrote:?}", known.set);
                }
            }
            Err(_) | Ok(Err(Error::OutcomeUnknown { .. })) => {
                known.in_doubt = Some(wrote);
                left.push(std::mem::replace(known, Known::new(next)));
            }
            Ok(Err(error)) if error.is_retryable() => {}
            Ok(Err(error)) => return Err(error).context("a transaction"),
        }
    }
    let in_doubt = left.len() as u64;
    Ok(Worked { sets: left.into_iter().chain(sets).collect(), answered, in_doubt })
}

/// Kills nodes and starts them again.
fn trouble(cluster: &Cluster, random: &mut ChaCha8Rng, round: u32) -> Result<()> {
    std::thread::sleep(Duration::from_millis(random.random_range(300..1500)));
    let nodes = cluster.nodes()?;
    let node = nodes.choose(random).expect("there are nodes");
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
    Ok(())
}

/// After it, nothing that was begun before it changes anything any more. No process that was asked for a transaction lives, and what is late is of
/// views that have ended; every group has made a transaction STABLE and applied it, so all that its log held before; and none has one that is not done.
fn barrier(cluster: &Cluster, clients: &Clients) -> Result<()> {
    let storage: Vec<u32> = cluster.pids()?.values().filter_map(|pids| pids.node).collect();
    send(&storage, Signal::KILL)?;
    cluster.ok(&["dev", "up"])?;
    cluster.all_online(ONLINE)?;
    let map = clients.wait(clients.client().map(Duration::ZERO))?;
    let index = map.catalogues.values().find(|catalogue| catalogue.name == INDEX).context("the index is in the map")?;
    let groups = index.width.min(map.pools[&index.pool].groups) as usize;
    let mut everywhere = Transaction::new();
    for number in 0..EVERYWHERE {
        everywhere.put(INDEX, format!("barrier/{number}").as_bytes(), b"");
    }
    let committed = clients.wait(clients.client().commit(&everywhere))?;
    ensure!(committed.groups == groups, "{EVERYWHERE} keys lie in {} of {groups} groups", committed.groups);
    let none = || Ok(clients.usage()?.iter().all(|device| device.unfinished == 0));
    cluster.wait_for("that no transaction is unfinished", SETTLED, none)
}

#[test]
fn transactions_over_many_groups_are_all_or_nothing_past_killed_nodes() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let clients = Clients::connect(&cluster, PATIENT)?;
    let near = Clients::reading_near(&cluster, PATIENT)?;
    let seed = std::env::var("REDOUBT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    say(format!("REDOUBT_SEED={seed}"));
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (end, over) = watch::channel(false);
    let work = |worker| clients.spawn(work(clients.client().clone(), near.client().clone(), worker, seed, over.clone()));
    let workers: Vec<_> = (0..WORKERS).map(work).collect();
    for round in 1..=rounds(2) {
        trouble(&cluster, &mut random, round)?;
    }
    std::thread::sleep(Duration::from_millis(500));
    end.send(true).context("the workers listen")?;
    let mut all = Vec::new();
    for (worker, task) in (0..).zip(workers) {
        all.push((worker, clients.wait(task)?.with_context(|| format!("worker {worker}"))?));
    }
    barrier(&cluster, &clients)?;
    for (worker, worked) in &all {
        for known in &worked.sets {
            for reader in [&clients, &near] {
                let found = clients.wait(values(reader.client(), *worker, known.set))?;
                let whole = found.iter().all(|value| *value == found[0]);
                ensure!(whole && known.allows(found[0]), "of worker {worker} a set holds {found:?}; {known:?}");
            }
        }
    }
    let (answered, in_doubt) = all.iter().fold((0, 0), |sum, (_, worked)| (sum.0 + worked.answered, sum.1 + worked.in_doubt));
    say(format!("{answered} transactions over several groups answered, {in_doubt} in doubt"));
    ensure!(answered >= ANSWERED_MIN, "{answered} transactions were answered: too few to mean anything");
    clients.close();
    near.close();
    Ok(())
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
