//! Doing faults: each begins at its moment, lasts, and is healed; what was done is written down with its counts.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::deploy::Deployment;
use super::network::{Cut, Link};
use super::scenario::{DiskError, Fault, FaultKind, Packets, Process};
use crate::process::Signal;

/// How long a fault lasts that says nothing else.
const LASTS: Duration = Duration::from_secs(1);
/// How often what repeats does, unless told otherwise.
const TIMES: u32 = 3;
/// Pause between repetitions, unless told otherwise.
const EVERY: Duration = Duration::from_millis(300);
/// How long what stopped at a fault point stays so, unless told otherwise.
const DOWN: Duration = Duration::from_millis(200);
/// Units that rot at once, unless told otherwise.
const UNITS: u32 = 8;
/// How long the groups of a device may take to move elsewhere.
const MOVED: Duration = Duration::from_secs(90);

/// A fault that was done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Done {
    /// What.
    pub kind: FaultKind,
    /// What it counts as: the kind, and for some what of it.
    pub name: String,
    /// To whom and how, in words.
    pub what: String,
    /// When it began, in milliseconds from the begin of the load.
    pub began_ms: u64,
    /// When it was healed.
    pub healed_ms: u64,
    /// What it came to: signals sent, units flipped, cuts laid.
    pub count: usize,
    /// Why it could not be done, if so.
    pub failed: Option<String>,
}

/// Does all of them; ends when the last is healed.
pub fn run(deployment: &Deployment, faults: &[Fault], began: Instant, seed: u64) -> Vec<Done> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0u64..)
            .zip(faults)
            .map(|(number, fault)| scope.spawn(move || one(deployment, fault, began, ChaCha8Rng::seed_from_u64(seed ^ (number << 32)))))
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a fault does not panic")).collect()
    })
}

fn one(deployment: &Deployment, fault: &Fault, began: Instant, mut random: ChaCha8Rng) -> Done {
    until(began + fault.at.0);
    let mut fault = fault.clone();
    for node in fault.nodes.iter_mut().filter(|node| *node == "leader") {
        *node = deployment.leader();
    }
    let begun = began.elapsed();
    let done = act(deployment, &fault, &mut random);
    let (count, detail, failed) = match done {
        Ok((count, detail)) => (count, detail, None),
        Err(error) => (0, String::new(), Some(format!("{error:#}"))),
    };
    let what = format!("{}{detail}", words(&fault));
    let ms = |at: Duration| u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
    Done { kind: fault.kind, name: name(&fault), what, began_ms: ms(begun), healed_ms: ms(began.elapsed()), count, failed }
}

fn until(moment: Instant) {
    std::thread::sleep(moment.saturating_duration_since(Instant::now()));
}

/// What a fault counts as.
fn name(fault: &Fault) -> String {
    let kind = fault.kind.word();
    match (fault.kind, fault.call, fault.error, fault.action) {
        (FaultKind::Disk, Some(call), Some(error), _) => format!("{kind}: {} {}", call.word(), error.word()),
        (FaultKind::Point, _, _, Some(action)) => format!("{kind}: {}", action.word()),
        _ => kind.into(),
    }
}

fn words(fault: &Fault) -> String {
    let whom = fault.nodes.join(", ");
    match fault.kind {
        FaultKind::Partition | FaultKind::Flap => {
            let sides: Vec<String> = fault.sides.iter().map(|side| side.join(" ")).collect();
            sides.join(if fault.one_way { " -x-> " } else { " | " })
        }
        FaultKind::PowerLoss => "everything".into(),
        FaultKind::Links => format!("{whom}: {}", packet_words(fault.packets.as_ref())),
        FaultKind::Starve => format!("{whom}: {} % of a processor", fault.percent.unwrap_or(0)),
        FaultKind::Disk => {
            format!("{whom}: {} {}", fault.call.map_or("", |call| call.word()), fault.error.map_or("", |error| error.word()))
        }
        FaultKind::Clock => format!("{whom}: {} s", fault.seconds.unwrap_or(0)),
        FaultKind::Squeeze => format!("{whom}: {} MiB", fault.memory.map_or(0, |bytes| bytes.0 >> 20)),
        FaultKind::Wipe | FaultKind::Rot | FaultKind::Replace => whom,
        FaultKind::Point => {
            format!("{whom}: {} at {}", fault.action.map_or("", |action| action.word()), fault.points.join(", "))
        }
        _ => match fault.process {
            Process::Both => whom,
            Process::Storage => format!("storage process of {whom}"),
            Process::Daemon => format!("daemon of {whom}"),
        },
    }
}

fn packet_words(packets: Option<&Packets>) -> String {
    let Some(packets) = packets else { return String::new() };
    let mut words = Vec::new();
    for (time, name) in [(packets.delay, "delay"), (packets.jitter, "jitter")] {
        if !time.0.is_zero() {
            words.push(format!("{name} {} ms", time.0.as_millis()));
        }
    }
    for (share, name) in [(packets.loss, "lost"), (packets.double, "doubled"), (packets.spoil, "spoilt")] {
        if share > 0.0 {
            words.push(format!("{share:.1} % {name}"));
        }
    }
    if let Some(bandwidth) = packets.bandwidth {
        words.push(format!("{} KiB/s", bandwidth.0 >> 10));
    }
    words.join(", ")
}

fn act(deployment: &Deployment, fault: &Fault, random: &mut ChaCha8Rng) -> Result<(usize, String)> {
    let lasts = fault.lasts.map_or(LASTS, |span| span.0);
    let (nodes, process) = (&fault.nodes[..], fault.process);
    let start = || nodes.iter().try_for_each(|node| deployment.start_node(node, process));
    match fault.kind {
        FaultKind::Kill => {
            let count = deployment.signal(nodes, process, Signal::KILL)?;
            std::thread::sleep(lasts);
            start().map(|()| (count, String::new()))
        }
        FaultKind::Freeze => {
            let count = deployment.signal(nodes, process, Signal::STOP)?;
            std::thread::sleep(lasts);
            deployment.signal(nodes, process, Signal::CONT)?;
            Ok((count, String::new()))
        }
        FaultKind::Restart => {
            let count = deployment.end(nodes, process, Signal::TERM)?;
            start().map(|()| (count, String::new()))
        }
        FaultKind::Storm => storm(deployment, fault),
        FaultKind::PowerLoss => power_loss(deployment, lasts),
        FaultKind::Wipe => {
            let mut wiped = Vec::new();
            for node in nodes {
                deployment.end(std::slice::from_ref(node), Process::Storage, Signal::KILL)?;
                wiped.push(last_name(&deployment.wipe(node, random)?));
            }
            std::thread::sleep(lasts);
            nodes.iter().try_for_each(|node| deployment.start_node(node, Process::Storage))?;
            Ok((wiped.len(), format!(": {}", wiped.join(", "))))
        }
        FaultKind::Rot => {
            let mut count = 0;
            let mut device = String::new();
            for node in nodes {
                let (path, flipped) = deployment.rot(node, fault.times.unwrap_or(UNITS) as usize, random)?;
                (count, device) = (count + flipped, last_name(&path));
            }
            Ok((count, format!(": {count} units of {device}")))
        }
        FaultKind::Partition => partition(deployment, fault, lasts),
        FaultKind::Flap => {
            let (times, every) = (fault.times.unwrap_or(TIMES), fault.every.map_or(EVERY, |span| span.0));
            let mut count = 0;
            for _ in 0..times {
                count += partition(deployment, fault, every)?.0;
                std::thread::sleep(every);
            }
            Ok((count, format!(", {times} times")))
        }
        FaultKind::Links => links(deployment, fault, lasts),
        FaultKind::Disk if fault.error == Some(DiskError::Tear) => tear(deployment, fault, lasts, random),
        FaultKind::Disk => disk(deployment, fault, lasts, random),
        FaultKind::Replace => {
            let mut moved = Vec::new();
            for node in nodes {
                moved.push(deployment.replace(node, MOVED, random)?);
            }
            Ok((moved.len(), format!(": {}", moved.join(", "))))
        }
        FaultKind::Clock => {
            let seconds = fault.seconds.unwrap_or(0);
            nodes.iter().try_for_each(|node| deployment.set_clock(node, seconds))?;
            std::thread::sleep(fault.lasts.map_or(Duration::ZERO, |span| span.0));
            Ok((nodes.len(), String::new()))
        }
        FaultKind::Point => {
            let lasts = fault.lasts.map_or(DOWN, |span| span.0);
            Ok((super::points::run(deployment, fault, lasts)?, String::new()))
        }
        FaultKind::Squeeze => {
            let bytes = fault.memory.map_or(u64::MAX, |bytes| bytes.0);
            let squeezed: Vec<_> = nodes.iter().map(|node| deployment.squeeze(node, bytes)).collect::<Result<_>>()?;
            std::thread::sleep(lasts);
            Ok((squeezed.len(), String::new()))
        }
        FaultKind::Starve => {
            let percent = fault.percent.unwrap_or(100);
            let starved: Vec<_> = nodes.iter().map(|node| deployment.starve(node, percent)).collect::<Result<_>>()?;
            std::thread::sleep(lasts);
            Ok((starved.len(), String::new()))
        }
    }
}

fn last_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Killed and started again, without a look at whether it came up.
fn storm(deployment: &Deployment, fault: &Fault) -> Result<(usize, String)> {
    let (times, every) = (fault.times.unwrap_or(TIMES), fault.every.map_or(EVERY, |span| span.0));
    let mut count = 0;
    for _ in 0..times {
        count += deployment.end(&fault.nodes, fault.process, Signal::KILL)?;
        for node in &fault.nodes {
            deployment.start_node(node, fault.process)?;
        }
        std::thread::sleep(every);
    }
    Ok((count, format!(", {times} times")))
}

fn power_loss(deployment: &Deployment, lasts: Duration) -> Result<(usize, String)> {
    let all: Vec<String> = deployment.nodes().iter().map(|node| node.name.clone()).collect();
    let count = deployment.end(&all, Process::Both, Signal::KILL)?;
    std::thread::sleep(lasts);
    deployment.start_all()?;
    Ok((count, format!(", {count} processes")))
}

/// The files of one device of each node.
fn disk(deployment: &Deployment, fault: &Fault, lasts: Duration, random: &mut ChaCha8Rng) -> Result<(usize, String)> {
    let (call, error) = (fault.call.context("`disk` has a call")?, fault.error.context("`disk` has an error")?);
    let mut injected = Vec::new();
    for node in &fault.nodes {
        injected.push(deployment.inject(node, call, error, fault.times, random)?);
    }
    std::thread::sleep(lasts);
    let mut count = 0;
    let mut devices = Vec::new();
    for (device, one) in injected {
        count += one.end()?;
        devices.push(last_name(&device));
    }
    // A fault that met no call was none.
    anyhow::ensure!(count > 0, "no call of {} went wrong", devices.join(", "));
    Ok((count, format!(": {count} calls on {}", devices.join(", "))))
}

/// What one device of each node has not synced is torn; its process has ended with it, and is started again.
fn tear(deployment: &Deployment, fault: &Fault, lasts: Duration, random: &mut ChaCha8Rng) -> Result<(usize, String)> {
    let mut count = 0;
    let mut devices = Vec::new();
    for node in &fault.nodes {
        let (device, torn) = deployment.tear(node, random)?;
        std::thread::sleep(lasts);
        deployment.start_node(node, Process::Storage)?;
        count += torn;
        devices.push(last_name(&device));
    }
    // It was stopped between the write and the sync by chance: then nothing was there to tear.
    Ok((count, format!(": {count} sectors of {}", devices.join(", "))))
}

fn partition(deployment: &Deployment, fault: &Fault, lasts: Duration) -> Result<(usize, String)> {
    let network = deployment.network().context("`partition` needs a network of its own")?;
    let mut cuts: Vec<Cut> = Vec::new();
    for (number, side) in fault.sides.iter().enumerate() {
        // One way: what the first side sends is lost, and nothing else.
        for other in
            fault.sides.iter().enumerate().filter(|(at, _)| *at != number && (!fault.one_way || number == 0)).map(|(_, other)| other)
        {
            for (from, to) in side.iter().flat_map(|from| other.iter().map(move |to| (from, to))) {
                cuts.push(network.lay(from, to, Link::cut())?);
            }
        }
    }
    std::thread::sleep(lasts);
    let count = cuts.len();
    cuts.into_iter().for_each(|cut| network.lift(cut));
    Ok((count, String::new()))
}

/// What nodes send and what they are sent, to and from everybody.
fn links(deployment: &Deployment, fault: &Fault, lasts: Duration) -> Result<(usize, String)> {
    let network = deployment.network().context("`links` needs a network of its own")?;
    let packets = fault.packets.clone().unwrap_or_default();
    let link = Link {
        is_cut: false,
        delay: packets.delay.0,
        jitter: packets.jitter.0,
        loss: packets.loss / 100.0,
        double: packets.double / 100.0,
        spoil: packets.spoil / 100.0,
        bandwidth: packets.bandwidth.map_or(0, |bytes| bytes.0),
    };
    let mut cuts = Vec::new();
    for node in &fault.nodes {
        for other in network.hosts().iter().map(|host| &host.name).filter(|other| *other != node) {
            cuts.push(network.lay(node, other, link)?);
            if !fault.one_way {
                cuts.push(network.lay(other, node, link)?);
            }
        }
    }
    std::thread::sleep(lasts);
    let count = cuts.len();
    cuts.into_iter().for_each(|cut| network.lift(cut));
    Ok((count, String::new()))
}

/// How often each kind was done, and what it came to in all.
pub fn counts(done: &[Done]) -> BTreeMap<&str, (usize, usize)> {
    let mut counts = BTreeMap::new();
    for fault in done.iter().filter(|fault| fault.failed.is_none()) {
        let (times, sum) = counts.entry(fault.name.as_str()).or_insert((0, 0));
        *times += 1;
        *sum += fault.count;
    }
    counts
}
