//! What the process does for others: one file per verb. Called by the transport for every message; nothing here blocks its thread longer
//! than a read from memory takes.
//!
//! Whatever cannot be answered at once becomes a task, and their number is bounded ([`TASKS_MAX`]): beyond it the answer is `Busy`. Nothing
//! is begun, and nobody waits, after the deadline of a request: its caller has given up by then.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use net::{Buf, Incoming, Observer, Operation, Service, Transport};
use serde::Serialize;
use serde::de::DeserializeOwned;
use storage::StorageError;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use types::buf::IoBuf;
use types::limits::{BLOCK_BYTES, UNIT_BYTES_MAX};
use types::map::GroupView;
use types::scrub::{RebuildProgress, ScrubProgress};
use types::wire::request::{ReadUnit, Refusal};
use types::{Boot, DeviceId, Epoch, GroupId, NodeId, ViewNumber, codec};

use crate::driver::{Clock, DriverInbox};
use crate::fences::Fences;
use crate::flights::Flights;
use crate::lease::Lease;
use crate::metrics::{EventCounts, Requests};
use crate::permits::Permits;
use crate::repair::{BadUnit, Repairs};
use crate::report::Reports;
use crate::rooms::Rooms;
use crate::view::Views;

#[cfg(test)]
mod tests;

mod admit;
mod bench;
mod delete_units;
mod dtm;
mod execute;
mod list_units;
mod read;
mod read_near;
mod read_unit;
mod scan;
mod usage;
mod write_unit;

/// Requests that may be under way as tasks: waiting for a view, a buffer, a device or the network.
const TASKS_MAX: usize = 1024;
/// How long a request waits for this process to take in HA's log up to what the sender knows.
const CATCH_UP_WAIT: Duration = Duration::from_millis(1000);

/// A device of this process, as those who serve see it.
#[derive(Clone)]
pub struct LocalDevice {
    /// What lies on it.
    pub store: storage::Device,
    /// What waits for its driver.
    pub inbox: Arc<DriverInbox>,
    /// Its share of the buffers, in blocks: one that hangs keeps what it has, and no more.
    pub share: Arc<Semaphore>,
    /// Reads of rows that may wait for it.
    pub reads: Arc<Semaphore>,
    /// Scans that may read it.
    pub scans: Arc<Semaphore>,
    /// Units that clients read and write on it.
    pub clients: Arc<Flights>,
    /// How far its scrub is.
    pub scrub: Arc<Mutex<ScrubProgress>>,
    /// What is rebuilt on it.
    pub rebuild: Arc<Mutex<RebuildProgress>>,
}

/// What every verb needs.
pub struct Node {
    /// Which node this is.
    pub me: NodeId,
    /// Which start of its process.
    pub boot: Boot,
    /// What is known of the cluster.
    pub views: Arc<Views>,
    /// How far each device has taken that in.
    pub fences: Arc<Fences>,
    /// Which groups may be read here.
    pub permits: Arc<Permits>,
    /// Whether the process may serve at all.
    pub lease: Arc<Lease>,
    /// Which devices are full.
    pub rooms: Arc<Rooms>,
    /// Units that were found damaged.
    pub repairs: Repairs,
    /// Its devices that are in use.
    pub devices: HashMap<DeviceId, LocalDevice>,
    /// What HA is to be told.
    pub reports: Reports,
    /// Its clock.
    pub clock: Clock,
    /// How often what was asked for.
    pub requests: Requests,
    /// What became of events that were to be told.
    pub events: EventCounts,
    /// The fabric, once it is up.
    pub transport: OnceLock<Arc<dyn Transport>>,
}

impl LocalDevice {
    /// The device at work, as one of so many that share a pool of buffers; one more share is nobody's.
    pub fn new(store: storage::Device, pool_bytes: usize, devices: usize) -> Self {
        let bytes = (pool_bytes / (devices + 1)).max(UNIT_BYTES_MAX);
        let permits = |count| Arc::new(Semaphore::new(count));
        let (reads, scans) = (permits(read::READS_MAX), permits(scan::SCANS_OF_DEVICE_MAX));
        Self {
            store,
            inbox: Arc::default(),
            share: permits(bytes / BLOCK_BYTES),
            reads,
            scans,
            clients: Arc::default(),
            scrub: Arc::default(),
            rebuild: Arc::default(),
        }
    }
}

/// A buffer with the share of its device that it takes, until the device gives it back.
pub(crate) struct SharedBuf {
    buf: Buf,
    share: OwnedSemaphorePermit,
}

impl IoBuf for SharedBuf {
    fn bytes(&self) -> &[u8] {
        self.buf.bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.buf.bytes_mut()
    }
}

/// Serves a [`Node`] to the fabric.
pub struct NodeService {
    node: Arc<Node>,
    /// Where tasks run: not on the transport's own thread, which has to go on moving data.
    runtime: Handle,
    tasks: Arc<Semaphore>,
    scans: Arc<Semaphore>,
}

impl NodeService {
    /// Serves this node; tasks run in the runtime of the caller.
    pub fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            runtime: Handle::current(),
            tasks: Arc::new(Semaphore::new(TASKS_MAX)),
            scans: Arc::new(Semaphore::new(scan::SCANS_MAX)),
        }
    }

    /// Runs a task for a request until its deadline, or refuses it where too many run.
    fn spawn<F: Future<Output = ()> + Send + 'static>(&self, incoming: Incoming, task: impl FnOnce(Arc<Node>, Incoming) -> F) {
        match self.tasks.clone().try_acquire_owned() {
            Ok(permit) => {
                let deadline = incoming.deadline;
                let task = task(self.node.clone(), incoming);
                self.runtime.spawn(async move {
                    // What a task has begun on a device goes on to its end by itself.
                    if tokio::time::timeout_at(deadline, task).await.is_err() {
                        tracing::debug!("a request was given up at its deadline");
                    }
                    drop(permit);
                });
            }
            Err(_) => {
                self.node.requests.refused.fetch_add(1, Ordering::Relaxed);
                refuse(incoming, Refusal::Busy(format!("{TASKS_MAX} requests are under way")));
            }
        }
    }
}

impl Service for NodeService {
    fn serve(&self, mut incoming: Incoming) {
        self.node.requests.came(incoming.operation);
        incoming.observe(self.node.clone());
        if is_over(&incoming) {
            return;
        }
        match incoming.operation {
            Operation::Dtm => dtm::serve(&self.node, incoming),
            Operation::Execute => match execute::try_now(&self.node, incoming) {
                Ok(()) => {}
                Err(later) => self.spawn(later, execute::after_catching_up),
            },
            Operation::Read => match read::try_now(&self.node, incoming) {
                Ok(()) => {}
                Err(later) => self.spawn(later, read::in_its_time),
            },
            Operation::Scan => {
                let scans = self.scans.clone();
                self.spawn(incoming, |node, incoming| scan::run(node, incoming, scans));
            }
            Operation::WriteUnit => self.spawn(incoming, write_unit::run),
            Operation::ReadUnit => self.spawn(incoming, read_unit::run),
            Operation::DeleteUnits => self.spawn(incoming, delete_units::run),
            Operation::ListUnits => self.spawn(incoming, list_units::run),
            Operation::Usage => usage::serve(&self.node, incoming),
            Operation::Echo => bench::echo(incoming),
            Operation::Sink => self.spawn(incoming, bench::sink),
            Operation::Source => self.spawn(incoming, bench::source),
            Operation::ReadPoint => match read_near::point_now(&self.node, incoming) {
                Ok(()) => {}
                Err(later) => self.spawn(later, read_near::point_after_catching_up),
            },
            Operation::ReadNear => match read_near::try_now(&self.node, incoming) {
                Ok(()) => {}
                Err(later) => self.spawn(later, read_near::in_its_time),
            },
        }
    }
}

impl Observer for Node {
    fn ended(&self, operation: Operation, took: Duration, bytes: usize) {
        self.requests.ended(operation, took, bytes);
    }
}

/// Whether a request for a replicated group may go on here.
enum Gate {
    /// Yes: this device is primary of the sender's view.
    Pass(DeviceId),
    /// The sender knows more than we do.
    Behind,
    /// No.
    Refuse(Refusal),
}

impl Node {
    fn gate(&self, group: GroupId, sender: ViewNumber) -> Gate {
        let view = self.views.now();
        if view.index < sender.0 {
            return Gate::Behind;
        }
        let Some(current) = view.map.view(group) else {
            return Gate::Refuse(Refusal::Invalid(format!("group {group} is not a replicated group of this cluster")));
        };
        match self.primary_here(current) {
            Some(device) if current.number == sender => Gate::Pass(device),
            _ => Gate::Refuse(Refusal::WrongView { current: current.number, epoch: view.map.epoch }),
        }
    }

    /// The device of this process that the view names as primary.
    pub fn primary_here(&self, view: &GroupView) -> Option<DeviceId> {
        let primary = view.primary?;
        (primary.boot == self.boot && self.devices.contains_key(&primary.device)).then_some(primary.device)
    }

    /// Whether what was just read of a group at its primary may be shown: the replica is active in that view, and at this moment the lease
    /// holds for what the device has taken in. The permit is looked at last: the driver takes it away before it says that it has taken a new view
    /// in, so one that is still there after that was asked belongs to what the lease is held for.
    fn may_show(&self, device: DeviceId, group: GroupId, view: ViewNumber) -> bool {
        self.lease.holds(self.clock.moment(), self.fences.taken_in(device)) && self.permits.holds(device, group, view)
    }

    async fn catch_up(&self, index: u64) -> bool {
        let mut newest = self.views.subscribe();
        let reached = newest.wait_for(|view| view.index >= index);
        matches!(tokio::time::timeout(CATCH_UP_WAIT, reached).await, Ok(Ok(_)))
    }

    fn device(&self, device: DeviceId) -> Result<&LocalDevice, Refusal> {
        self.devices.get(&device).ok_or_else(|| Refusal::Invalid(format!("{device} is not in use in {}", self.me)))
    }

    /// What a reader is told whose unit could not be read; HA hears of it, and a unit that is damaged is to be repaired.
    pub(crate) fn unit_failed(&self, read: &ReadUnit, error: &StorageError) -> Refusal {
        let ReadUnit { device, fid, unit, .. } = *read;
        if matches!(error, StorageError::Corrupt { .. } | StorageError::Io { .. }) {
            self.repairs.ask(BadUnit { device, fid, unit }, self.clock.moment());
        }
        self.reports.storage(device, error)
    }

    /// A buffer of the device's share of the pool.
    pub(crate) async fn buffer(&self, device: &LocalDevice, length: usize) -> Result<SharedBuf, Refusal> {
        let lost = |error: &dyn std::fmt::Display| Refusal::Busy(error.to_string());
        let blocks = u32::try_from(length.div_ceil(BLOCK_BYTES)).map_err(|error| lost(&error))?;
        let share = device.share.clone().acquire_many_owned(blocks).await.map_err(|error| lost(&error))?;
        let buf = self.transport()?.pool().take(length).await.map_err(|error| lost(&error))?;
        Ok(SharedBuf { buf, share })
    }

    fn transport(&self) -> Result<&Arc<dyn Transport>, Refusal> {
        self.transport.get().ok_or_else(|| Refusal::Busy("the process is starting".into()))
    }
}

/// Whether nobody waits for the answer any more.
fn is_over(incoming: &Incoming) -> bool {
    incoming.is_cancelled() || incoming.deadline <= tokio::time::Instant::now()
}

/// The refusal of a request that knows a later view than this process can get in time.
fn behind(sender: u64) -> Refusal {
    Refusal::Busy(format!("this process has not taken in HA's log up to {sender} yet"))
}

fn not_active() -> Refusal {
    Refusal::Busy("the group is not active here yet, or the process has no lease".into())
}

/// Decodes a request, or answers that it makes no sense.
fn decoded<T: DeserializeOwned>(incoming: Incoming) -> Option<(T, Incoming)> {
    match codec::decode(&incoming.head) {
        Ok(request) => Some((request, incoming)),
        Err(error) => {
            refuse(incoming, Refusal::Invalid(error.to_string()));
            None
        }
    }
}

fn answer<T: Serialize>(incoming: Incoming, reply: &Result<T, Refusal>) {
    incoming.reply(codec::encode(reply));
}

fn refuse(incoming: Incoming, refusal: Refusal) {
    answer::<()>(incoming, &Err(refusal));
}

/// How far HA's log has to be taken in before a view of that number can be known.
fn epoch_of(view: ViewNumber) -> Epoch {
    Epoch(view.0)
}
