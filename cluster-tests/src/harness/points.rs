//! Fault points of the product in a scenario: armed at a node's socket, one after the other, and what they do is waited for.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::deploy::Deployment;
use super::scenario::{Fault, PointAction, Process};

/// How long the load may take until it comes to a point.
const REACHED: Duration = Duration::from_secs(20);
/// How long a node that crashed may take until it is ONLINE again.
const ONLINE: Duration = Duration::from_secs(30);
/// How long what is asked at the socket may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long an operation takes longer at a point that delays.
const DELAY_MS: u64 = 200;
/// Names of points of the daemon begin so.
const OF_DAEMON: &str = "ha-";

/// The process that has the point of that name; `None` where there is none.
pub fn process_of(name: &str) -> Option<Process> {
    if name.starts_with(OF_DAEMON) {
        return Some(Process::Daemon);
    }
    node::points::POINTS.iter().any(|point| point.name == name).then_some(Process::Storage)
}

/// Asks at the socket of a process: the lines of its answer.
pub fn ask(socket: &Path, request: &str) -> Result<Vec<String>> {
    let stream = UnixStream::connect(socket).with_context(|| socket.display().to_string())?;
    stream.set_read_timeout(Some(ANSWER))?;
    (&stream).write_all(format!("{request}\n").as_bytes())?;
    let mut lines = Vec::new();
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if line == "ok" {
            return Ok(lines);
        }
        if let Some(why) = line.strip_prefix("error: ") {
            bail!("{request}: {why}");
        }
        lines.push(line);
    }
    bail!("{request}: no answer")
}

/// Arms each point in turn, at the nodes in turn, and waits until it has acted; how often they did.
pub fn run(deployment: &Deployment, fault: &Fault, lasts: Duration) -> Result<usize> {
    // Scenarios give several of them; two nodes that are away at once would be more than they mean.
    let _turn = deployment.points_turn();
    let action = fault.action.context("`point` has an action")?;
    for (point, node) in fault.points.iter().zip(fault.nodes.iter().cycle()) {
        one(deployment, point, node, action, fault, lasts).with_context(|| format!("{point} at {node}"))?;
    }
    Ok(fault.points.len())
}

fn one(deployment: &Deployment, point: &str, node: &str, action: PointAction, fault: &Fault, lasts: Duration) -> Result<()> {
    let process = process_of(point).context("there is no such point")?;
    let socket = deployment.points_socket(node, process)?;
    let word = match action {
        PointAction::Error => "error".to_string(),
        PointAction::Crash => "crash".to_string(),
        PointAction::Hang => "hang".to_string(),
        PointAction::Delay => format!("delay={DELAY_MS}"),
    };
    let hits = fault.hits.map_or_else(String::new, |hits| format!(" times={hits}"));
    let until = Instant::now() + REACHED;
    // A node that was just started has no socket yet.
    let before = loop {
        match acted(&socket, point) {
            Ok(before) => break before,
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    ask(&socket, &format!("arm {point} {word} skip={}{hits}", fault.skip.unwrap_or(0)))?;
    let awaited = before + u64::from(fault.hits.unwrap_or(1));
    let crashes = action == PointAction::Crash;
    while if crashes { !deployment.pids(node, process).is_empty() } else { acted(&socket, point)? < awaited } {
        ensure!(Instant::now() < until, "nothing came to it within {REACHED:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(lasts);
    if crashes {
        deployment.start_node(node, process)?;
        deployment.cluster().all_online(ONLINE)
    } else {
        ask(&socket, &format!("disarm {point}")).map(drop)
    }
}

/// How often a point has acted.
fn acted(socket: &Path, point: &str) -> Result<u64> {
    let lines = ask(socket, "list")?;
    let line = lines.iter().find(|line| line.split('\t').next() == Some(point)).context("the point is listed")?;
    line.split('\t').nth(2).and_then(|count| count.parse().ok()).with_context(|| format!("a count in {line}"))
}
