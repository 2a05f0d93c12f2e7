//! Which points are armed, with what, and what passing one does.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rand::Rng;

use super::{Injected, Point};

/// How often what hangs looks whether it may go on.
const LOOK: Duration = Duration::from_millis(10);

/// Whether there is a socket: passes are counted from then on.
static SERVED: AtomicBool = AtomicBool::new(false);
/// Points that are armed, by name.
static ARMED: Mutex<BTreeMap<&'static str, Armed>> = Mutex::new(BTreeMap::new());

/// What a point does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It fails.
    Error,
    /// It takes so long.
    Delay(Duration),
    /// The process ends at once, as by a signal.
    Crash,
    /// It does not go on until it is disarmed.
    Hang,
}

/// How a point is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed {
    /// What it does.
    pub action: Action,
    /// How many go by first.
    pub skip: u64,
    /// How often it acts still; `None` is always.
    pub times: Option<u64>,
    /// How often of a hundred.
    pub percent: u32,
}

/// What has happened at a point since there is a socket.
#[derive(Debug)]
pub struct Counts {
    passed: AtomicU64,
    acted: AtomicU64,
}

impl Counts {
    pub(super) const fn new() -> Self {
        Self { passed: AtomicU64::new(0), acted: AtomicU64::new(0) }
    }
}

fn armed() -> MutexGuard<'static, BTreeMap<&'static str, Armed>> {
    ARMED.lock().expect("nobody panics with the lock")
}

/// Points count from now on, and may be armed.
pub fn begin() {
    SERVED.store(true, Ordering::Release);
}

/// Arms a point.
pub fn arm(point: &'static Point, how: Armed) -> Result<(), String> {
    if how.action == Action::Error && !point.fails {
        return Err(format!("{} cannot fail: say crash, hang or delay=MS", point.name));
    }
    armed().insert(point.name, how);
    Ok(())
}

/// Disarms a point; what hangs there goes on.
pub fn disarm(point: &'static Point) {
    armed().remove(point.name);
}

/// How a point is armed, and how often it was passed and has acted.
pub fn look(point: &'static Point) -> (Option<Armed>, u64, u64) {
    (armed().get(point.name).copied(), point.counts.passed.load(Ordering::Relaxed), point.counts.acted.load(Ordering::Relaxed))
}

/// What a passing of the point does now, if anything.
fn act(point: &'static Point) -> Option<Action> {
    if !SERVED.load(Ordering::Relaxed) {
        return None;
    }
    point.counts.passed.fetch_add(1, Ordering::Relaxed);
    let mut armed = armed();
    let how = armed.get_mut(point.name)?;
    if how.skip > 0 {
        how.skip -= 1;
        return None;
    }
    if how.times == Some(0) || (how.percent < 100 && rand::rng().random_range(0..100) >= how.percent) {
        return None;
    }
    how.times = how.times.map(|times| times - 1);
    point.counts.acted.fetch_add(1, Ordering::Relaxed);
    Some(how.action)
}

fn hangs(point: &'static Point) -> bool {
    armed().contains_key(point.name)
}

fn crash(point: &'static Point) -> ! {
    eprintln!("the fault point {} is armed: the process ends", point.name);
    std::process::abort()
}

impl Point {
    /// Passes it on a thread that may wait.
    pub fn pass(&'static self) -> Result<(), Injected> {
        match act(self) {
            None => {}
            Some(Action::Error) => return Err(Injected(self.name)),
            Some(Action::Delay(time)) => std::thread::sleep(time),
            Some(Action::Crash) => crash(self),
            Some(Action::Hang) => {
                while hangs(self) {
                    std::thread::sleep(LOOK);
                }
            }
        }
        Ok(())
    }

    /// Passes it in a task.
    pub async fn pass_in_task(&'static self) -> Result<(), Injected> {
        match act(self) {
            None => {}
            Some(Action::Error) => return Err(Injected(self.name)),
            Some(Action::Delay(time)) => tokio::time::sleep(time).await,
            Some(Action::Crash) => crash(self),
            Some(Action::Hang) => {
                while hangs(self) {
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
        Ok(())
    }
}
