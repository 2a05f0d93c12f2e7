//! Processes of a local cluster: started detached, known by a pid file that names their start too, so that a number that was given to
//! somebody else meanwhile is never signalled.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::time::Instant;

use super::{ClusterFile, NodeFile};
use crate::cli::exit::Failure;

/// How often a process that is to end is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// How long a process that is being killed may take: the kernel ends its I/O first.
const DYING: Duration = Duration::from_secs(10);
/// How much of the end of a log is shown.
const LOG_TAIL_BYTES: i64 = 2000;

/// Which process of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// The HA daemon.
    Ha,
    /// The storage process.
    Node,
}

impl Service {
    /// The name of its executable.
    pub fn executable(self) -> &'static str {
        match self {
            Self::Ha => "redoubt-ha",
            Self::Node => "redoubt-node",
        }
    }

    /// The name of its configuration file.
    pub fn config_name(self) -> &'static str {
        match self {
            Self::Ha => "ha.toml",
            Self::Node => "node.toml",
        }
    }
}

/// A process that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its pid.
    pub pid: u32,
    /// When it started, in ticks since the machine did.
    started: u64,
    /// Whether it is stopped by a signal.
    pub is_stopped: bool,
}

fn pid_file(file: &ClusterFile, node: &NodeFile, service: Service) -> PathBuf {
    file.node_dir(node).join(format!("{}.pid", service.executable()))
}

fn log_file(file: &ClusterFile, node: &NodeFile, service: Service) -> PathBuf {
    file.node_dir(node).join(format!("{}.log", service.executable()))
}

/// The process, if it runs.
pub fn running(file: &ClusterFile, node: &NodeFile, service: Service) -> Option<Running> {
    let text = std::fs::read_to_string(pid_file(file, node, service)).ok()?;
    let (pid, started) = text.trim().split_once(' ')?;
    let running = look(pid.parse().ok()?)?;
    (running.started == started.parse::<u64>().ok()?).then_some(running)
}

/// What the kernel says of a pid; a process that has ended and was not waited for does not run.
fn look(pid: u32) -> Option<Running> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the executable may hold anything, but the last `)` ends it.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let (state, started) = (*fields.first()?, fields.get(19)?.parse().ok()?);
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    Some(Running { pid, started, is_stopped: matches!(state, "T" | "t") })
}

/// Whether a process is being killed: it is there for some moments more, and serves nobody.
fn is_dying(pid: u32) -> bool {
    const EXITING: u64 = 0x4;
    const KILLED: u64 = 1 << 8;
    let flags = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| {
        let (_, rest) = stat.rsplit_once(") ")?;
        rest.split(' ').nth(6)?.parse::<u64>().ok()
    });
    let pending = std::fs::read_to_string(format!("/proc/{pid}/status")).ok().is_some_and(|status| {
        let sets = status.lines().filter_map(|line| line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:")));
        sets.filter_map(|set| u64::from_str_radix(set.trim(), 16).ok()).any(|set| set & KILLED != 0)
    });
    pending || flags.is_some_and(|flags| flags & EXITING != 0)
}

/// The process, if it runs and is not being killed; one that is is waited for.
pub async fn settled(file: &ClusterFile, node: &NodeFile, service: Service) -> Result<Option<Running>, Failure> {
    let Some(process) = running(file, node, service) else { return Ok(None) };
    if !is_dying(process.pid) {
        return Ok(Some(process));
    }
    if ended(process, DYING).await {
        return Ok(None);
    }
    Err(Failure::other(format!("{} of {} was killed {} s ago and has not ended", service.executable(), node.name, DYING.as_secs())))
}

/// The executable beside our own.
pub fn executable(service: Service) -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().map_err(|e| Failure::other(format!("our own executable is not known: {e}")))?;
    let path = own.with_file_name(service.executable());
    if path.is_file() { Ok(path) } else { Err(Failure::other(format!("{} is not there: build it (`make build`)", path.display()))) }
}

/// Every process that runs with a configuration below a directory, whoever started it and whatever its pid file says.
pub fn running_below(dir: &Path, service: Service) -> Vec<(Running, PathBuf)> {
    let Ok(dir) = std::fs::canonicalize(dir) else { return Vec::new() };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let config = config_of(&std::fs::read(format!("/proc/{pid}/cmdline")).ok()?, service)?;
        let config = std::fs::canonicalize(config).ok()?;
        if config.starts_with(&dir) { Some((look(pid)?, config)) } else { None }
    })
    .collect()
}

/// The configuration that a command line of that executable names.
fn config_of(command_line: &[u8], service: Service) -> Option<PathBuf> {
    let words: Vec<&Path> = command_line.split(|&byte| byte == 0).map(|word| Path::new(OsStr::from_bytes(word))).collect();
    let at = words.iter().position(|word| *word == Path::new("--config"))?;
    // What is just being started runs as `setsid EXECUTABLE --config ...` for a moment.
    let is_ours = words[..at].iter().any(|word| word.file_name() == Some(OsStr::new(service.executable())));
    if is_ours { words.get(at + 1).map(|path| path.to_path_buf()) } else { None }
}

/// Writes pid files for processes that run without: their starter was ended before it could.
pub fn adopt(file: &ClusterFile) -> Result<(), Failure> {
    for service in [Service::Ha, Service::Node] {
        for (process, config) in running_below(&file.dir, service) {
            let its = |node: &&NodeFile| std::fs::canonicalize(file.config(node, service)).is_ok_and(|path| path == config);
            if let Some(node) = file.nodes.iter().find(its)
                && running(file, node, service).is_none()
            {
                write_pid(file, node, service, process.pid, process.started)?;
            }
        }
    }
    Ok(())
}

fn write_pid(file: &ClusterFile, node: &NodeFile, service: Service, pid: u32, started: u64) -> Result<(), Failure> {
    let path = pid_file(file, node, service);
    std::fs::write(&path, format!("{pid} {started}\n")).map_err(|e| Failure::io(path.display(), &e))
}

/// Starts a process, detached, with its output in its log. Gives its pid.
pub fn start(file: &ClusterFile, node: &NodeFile, service: Service) -> Result<u32, Failure> {
    let log_path = log_file(file, node, service);
    let log = File::options().create(true).append(true).open(&log_path).map_err(|e| Failure::io(log_path.display(), &e))?;
    let error_log = log.try_clone().map_err(|e| Failure::io(log_path.display(), &e))?;
    // `setsid` becomes the process itself, under the same pid: no terminal and no signal of ours reaches it any more.
    let child = Command::new("setsid")
        .arg(executable(service)?)
        .arg("--config")
        .arg(file.config(node, service))
        .current_dir(file.node_dir(node))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(error_log)
        .spawn()
        .map_err(|e| Failure::other(format!("{} does not start: {e}", service.executable())))?;
    let pid = child.id();
    let started = look(pid).map_or(0, |running| running.started);
    write_pid(file, node, service, pid, started)?;
    Ok(pid)
}

/// Sends a signal, if the process runs still.
pub fn signal(running: Running, signal: Signal) -> Result<(), Failure> {
    let pid = i32::try_from(running.pid).ok().and_then(Pid::from_raw).ok_or_else(|| Failure::other("a pid out of range"))?;
    if look(running.pid).is_none_or(|now| now.started != running.started) {
        return Ok(());
    }
    match rustix::process::kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(Failure::other(format!("process {}: {error}", running.pid))),
    }
}

/// Waits until a process has ended; false where it has not in time.
pub async fn ended(running: Running, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    loop {
        if look(running.pid).is_none_or(|now| now.started != running.started) {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// The end of a process's log, for an error that has to say why.
pub fn log_tail(file: &ClusterFile, node: &NodeFile, service: Service) -> String {
    let path = log_file(file, node, service);
    let tail = tail_of(&path).unwrap_or_else(|e| e.to_string());
    format!("{}:\n{}", path.display(), tail.trim_end())
}

fn tail_of(path: &Path) -> std::io::Result<String> {
    let mut log = File::open(path)?;
    if log.metadata()?.len() > LOG_TAIL_BYTES as u64 {
        log.seek(SeekFrom::End(-LOG_TAIL_BYTES))?;
    }
    let mut tail = Vec::new();
    log.read_to_end(&mut tail)?;
    Ok(String::from_utf8_lossy(&tail).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_the_configuration_in_its_command_line() {
        let line = b"/bin/redoubt-node\0--config\0/x/node-1/node.toml\0";
        assert_eq!(config_of(line, Service::Node), Some("/x/node-1/node.toml".into()));
        assert_eq!(config_of(line, Service::Ha), None);
        assert_eq!(config_of(b"setsid\0/bin/redoubt-ha\0--config\0/a b\0", Service::Ha), Some("/a b".into()));
        for other in [&b"vi\0--config\0/x/node-1/node.toml\0"[..], b"redoubt-node\0--help\0", b"redoubt-node\0--config", b""] {
            assert_eq!(config_of(other, Service::Node), None);
        }
    }
}
