//! What a device is formatted with and how it is opened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use types::limits::BLOCK_BYTES;
use types::{ClusterId, DeviceId, GroupId, Incarnation, SessionId};

/// Smallest data file: two copies of the superblock and a few of the largest units.
pub const DEVICE_BYTES_MIN: u64 = 8 * 1024 * 1024;
/// Free space of the file system below which units and transactions are refused: what is left is, a third each, for the log, for deletes and
/// changes of view, and for tables: RocksDB's memory is flushed into them.
pub const META_RESERVE_BYTES: u64 = 96 * 1024 * 1024;
/// How long to wait for the process that had the device before and is just ending.
pub const LOCK_WAIT: Duration = Duration::from_secs(5);

/// What a new device is to be.
#[derive(Clone, Debug)]
pub struct FormatOptions {
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// Its id in the cluster.
    pub device: DeviceId,
    /// HA's number of this format of it.
    pub incarnation: Incarnation,
    /// Size of the data file; rounded down to whole blocks, at least [`DEVICE_BYTES_MIN`].
    pub bytes: u64,
    /// The device's uuid; drawn at random where it is not given.
    pub uuid: Option<u128>,
    /// Whether a device that lies there is given up for the new one.
    pub replace: bool,
    /// How long to wait where another process has the device.
    pub lock_wait: Duration,
}

impl FormatOptions {
    /// A device of this size, with a random uuid, where nothing lies yet.
    pub fn new(cluster: ClusterId, device: DeviceId, incarnation: Incarnation, bytes: u64) -> Self {
        Self { cluster, device, incarnation, bytes, uuid: None, replace: false, lock_wait: LOCK_WAIT }
    }

    /// Size of the data file in whole blocks.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.bytes - self.bytes % BLOCK_BYTES as u64
    }
}

/// How the data file is read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoMode {
    /// io_uring, or where the kernel refuses it, [`IoMode::Plain`].
    #[default]
    Auto,
    /// io_uring, or not at all.
    Uring,
    /// Threads that call `pread` and `pwrite`.
    Plain,
}

/// Which sessions may not write any more, as far as the process knows. Asked on the device's threads: it must not block.
pub type SessionGate = Arc<dyn Fn(SessionId) -> bool + Send + Sync>;

/// Which groups have units that are being rebuilt on the device, as far as the process knows. Asked on the device's threads: it must not block.
pub type GroupGate = Arc<dyn Fn(GroupId) -> bool + Send + Sync>;

/// How a device is opened.
#[derive(Clone)]
pub struct OpenOptions {
    /// The cluster that it has to belong to.
    pub cluster: ClusterId,
    /// The id that it has to have.
    pub device: DeviceId,
    /// How the data file is read and written.
    pub io: IoMode,
    /// Whether `O_DIRECT` is tried; where the file system refuses it, the page cache is used.
    pub direct: bool,
    /// Free space of the file system that only the log, deletes and recovery may use.
    pub meta_reserve_bytes: u64,
    /// How long to wait where another process has the device.
    pub lock_wait: Duration,
    /// Says that a session is closed; the device then refuses its units.
    pub closed: SessionGate,
    /// Says that units of a group are being rebuilt here: a marker of each fid of it that dies is kept, so that none of it comes back.
    pub filling: GroupGate,
}

impl OpenOptions {
    /// The usual way, with no session closed.
    pub fn new(cluster: ClusterId, device: DeviceId) -> Self {
        Self {
            cluster,
            device,
            io: IoMode::Auto,
            direct: true,
            meta_reserve_bytes: META_RESERVE_BYTES,
            lock_wait: LOCK_WAIT,
            closed: Arc::new(|_| false),
            filling: Arc::new(|_| false),
        }
    }
}

impl fmt::Debug for OpenOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenOptions")
            .field("cluster", &self.cluster)
            .field("device", &self.device)
            .field("io", &self.io)
            .field("direct", &self.direct)
            .field("meta_reserve_bytes", &self.meta_reserve_bytes)
            .field("lock_wait", &self.lock_wait)
            .finish_non_exhaustive()
    }
}
