//! Errors of a disk, for a process that runs: `strace` attaches to it and answers calls on the files of one device as a bad disk would.
//!
//! Seen are the calls that are made as such: all of metadata (journal and tables), and syncs of units. Transfers of units by io_uring are not.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::scenario::{DiskCall, DiskError};

/// How long attaching may take.
const ATTACHING: Duration = Duration::from_secs(10);

/// What a disk does wrong, for as long as this lives.
pub struct Injected {
    child: Child,
    log: PathBuf,
}

/// Whether it can be done here; why not.
pub fn permitted() -> Result<()> {
    let out = Command::new("strace").arg("--version").output().context("`disk` needs strace, which is not installed")?;
    if !out.status.success() {
        bail!("`disk` needs a strace that works");
    }
    Ok(())
}

fn calls(call: DiskCall) -> &'static str {
    match call {
        DiskCall::Sync => "fdatasync,fsync",
        DiskCall::Write => "pwrite64,pwritev,pwritev2,write",
        DiskCall::Read => "pread64,preadv,preadv2,read",
    }
}

fn answer(error: DiskError) -> String {
    match error {
        DiskError::Io => "error=EIO".into(),
        DiskError::Full => "error=ENOSPC".into(),
        // The call is not made, and says that it was.
        DiskError::Lie => "retval=0".into(),
        DiskError::Tear => unreachable!("not by an answer to a call: `tear`"),
        DiskError::Slow => format!("delay_enter={}", SLOW.as_micros()),
    }
}

/// How much later a slow call begins.
const SLOW: Duration = Duration::from_millis(40);

impl Injected {
    /// Calls of a process on the files of a device go wrong: all of them, or the first `times`.
    pub fn begin(pid: u32, device: &Path, call: DiskCall, error: DiskError, times: Option<u32>, log: PathBuf) -> Result<Self> {
        permitted()?;
        let calls = calls(call);
        let when = times.map_or_else(String::new, |times| format!(":when=1..{times}"));
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &pid.to_string(), "-e", &format!("trace={calls}")]);
        command.arg("-e").arg(format!("inject={calls}:{}{when}", answer(error))).arg("-o").arg(&log);
        for file in files(device)? {
            command.arg("-P").arg(file);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Ok(Self { child: attach(command)?, log })
    }

    /// Lets go of the process; how many calls went wrong.
    pub fn end(mut self) -> Result<usize> {
        self.detach();
        let log = std::fs::read_to_string(&self.log).with_context(|| self.log.display().to_string())?;
        Ok(log.lines().filter(|line| line.contains("(INJECTED)") || line.contains("(DELAYED)")).count())
    }

    fn detach(&mut self) {
        detach(&mut self.child);
    }
}

/// Starts `strace`, which says on its stderr that it has attached, and waits for that.
pub(super) fn attach(mut command: Command) -> Result<Child> {
    let mut child = command.spawn().context("starting strace")?;
    let words = child.stderr.take().context("strace has a stderr")?;
    let (told, attached) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut said = Vec::new();
        for line in BufReader::new(words).lines().map_while(Result::ok) {
            if line.contains(" attached") {
                // Nobody listens any more where it took too long.
                let _late = told.send(Ok(()));
            }
            said.push(line);
        }
        let _late = told.send(Err(said.join("; ")));
    });
    let why = match attached.recv_timeout(ATTACHING) {
        Ok(Ok(())) => return Ok(child),
        Ok(Err(why)) => format!("strace does not attach: {why}"),
        Err(_) => format!("strace has not attached after {ATTACHING:?}"),
    };
    detach(&mut child);
    bail!(why)
}

/// Has `strace` let go of what it traces, and end.
pub(super) fn detach(strace: &mut Child) {
    if let Some(pid) = i32::try_from(strace.id()).ok().and_then(Pid::from_raw) {
        let _gone = kill_process(pid, Signal::TERM);
    }
    let _gone = strace.wait();
}

impl Drop for Injected {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.detach();
        }
    }
}

/// All files of a device that are there.
fn files(device: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![device.join("blocks")];
    let meta = device.join("meta");
    for entry in std::fs::read_dir(&meta).with_context(|| meta.display().to_string())? {
        files.push(entry?.path());
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_running_process_meets_the_error_on_files_of_the_device_and_on_no_others() {
        if let Err(why) = permitted() {
            return eprintln!("SKIPPED: {why:#}");
        }
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(dir.path().join("device/meta")).expect("a directory");
        for file in ["device/blocks", "device/meta/journal", "other"] {
            std::fs::File::create(dir.path().join(file)).and_then(|mut f| f.write_all(&[0; 8])).expect("a file");
        }
        // `dd` syncs what it has written, and says when that fails.
        let script = "while [ ! -e go ]; do sleep 0.02; done; \
            dd if=/dev/zero of=other bs=1 count=1 conv=notrunc,fdatasync 2>/dev/null && echo other; \
            dd if=/dev/zero of=device/meta/journal bs=1 count=1 conv=notrunc,fdatasync 2>/dev/null || echo journal";
        let mut child = Command::new("sh").args(["-c", script]).current_dir(dir.path()).stdout(Stdio::piped()).spawn().expect("sh");
        let (device, log) = (dir.path().join("device"), dir.path().join("log"));
        let injected = Injected::begin(child.id(), &device, DiskCall::Sync, DiskError::Io, None, log);
        let injected = match injected {
            Ok(injected) => injected,
            Err(why) => {
                let _gone = child.kill();
                child.wait().expect("it ends");
                assert!(why.to_string().contains("not permitted"), "{why:#}");
                return eprintln!("SKIPPED: {why:#}");
            }
        };
        std::fs::File::create(dir.path().join("go")).and_then(|f| f.write_all_at(b"x", 0)).expect("a file");
        let out = child.wait_with_output().expect("it ends");
        assert_eq!(String::from_utf8_lossy(&out.stdout), "other\njournal\n");
        assert!(injected.end().expect("a log") >= 1, "and says so");
    }
}
