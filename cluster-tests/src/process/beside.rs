//! A program that runs beside a cluster, as long as it is held.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Signal, send};

/// A program that runs beside a cluster, as long as this lives.
pub struct Beside(Child);

impl Beside {
    pub(super) fn start(program: &Path, args: &[&str], dir: &Path, log: &Path) -> Result<Self> {
        let log = std::fs::File::create(log)?;
        let mut command = Command::new(program);
        command.args(args).env("REDOUBT_DIR", dir).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Self(command.spawn().with_context(|| program.display().to_string())?))
    }

    /// Ctrl-C.
    pub fn interrupt(&self) -> Result<()> {
        send(&[self.0.id()], Signal::INT).map(drop)
    }

    /// How it ended; it has to in that time.
    pub fn code(mut self, within: Duration) -> Result<i32> {
        let until = Instant::now() + within;
        loop {
            if let Some(status) = self.0.try_wait()? {
                return status.code().context("it was ended by a signal");
            }
            if Instant::now() > until {
                bail!("it has not ended after {within:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
