//! A device at work: units are written, read and deleted here; its metadata is [`Device::meta`].
//!
//! Guaranteed: [`Device::write_unit`] returns when data and record are durable; what [`Device::read_unit`] returns has its checksums; a
//! write that was refused has no effect; a write goes on to its end, whether its caller waits or not. Left to the process: views and
//! sessions, reporting to HA, and calling within a few requests per client: a device queues at most [`TRANSFERS_MAX`] of them.

mod commit;
mod core;
mod open;
mod pulse;
mod read;
mod scrub;
mod verify;
mod write;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use types::buf::IoBuf;
use types::limits::DTX_OPS_MAX;
use types::wire::request::{DeviceUsage, UnitInfo};
use types::{Fid, GroupId};

pub use self::core::TRANSFERS_MAX;
pub(crate) use self::core::{Committing, Core};
use crate::meta::Meta;
use crate::options::{FormatOptions, OpenOptions};
use crate::{Identity, StorageError};
pub(crate) use open::assemble;
pub use scrub::{Cursor, ScrubPage};
pub use verify::{BadUnit, VerifyReport};

/// An open device. Clones are the same device; it is closed when the last is dropped.
#[derive(Clone)]
pub struct Device {
    handle: Arc<core::Handle>,
    mended: usize,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Device({})", self.identity().device)
    }
}

impl Device {
    /// Makes a new device in `dir`, which is created if it is not there. A crash on the way leaves something that opens as not formatted.
    ///
    /// # Errors
    /// [`StorageError::NotEmpty`] where a device lies there and is not to be replaced, or something that is none of ours.
    pub fn format(dir: &Path, options: &FormatOptions) -> Result<Identity, StorageError> {
        open::format(dir, options)
    }

    /// Who lies in `dir`, if anybody; nothing is touched.
    ///
    /// # Errors
    /// As those of [`Device::open`], but for cluster and device, which are returned.
    pub fn probe(dir: &Path) -> Result<Option<Identity>, StorageError> {
        open::probe(dir)
    }

    /// Opens the device in `dir`: recovers the metadata, rebuilds the free space.
    ///
    /// # Errors
    /// Refused, with nothing touched, where it is of another cluster, another device, a newer format, or in use; and where its metadata is
    /// damaged anywhere but at the torn tail of its log.
    pub fn open(dir: &Path, options: &OpenOptions) -> Result<Self, StorageError> {
        open::open(dir, options)
    }

    /// Reads all units of a device that is not open elsewhere, and changes nothing.
    pub fn verify(dir: &Path, options: &OpenOptions) -> Result<VerifyReport, StorageError> {
        verify::verify(dir, options)
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.core().identity
    }

    /// How many of its superblocks were damaged when it was opened, and are written anew from the other.
    pub fn superblocks_mended(&self) -> usize {
        self.mended
    }

    /// Its metadata.
    pub fn meta(&self) -> &Meta {
        &self.core().meta
    }

    /// What it has failed of, if it has: it takes no more changes then.
    pub fn failure(&self) -> Option<String> {
        self.core().health.failure()
    }

    /// Ends it: it takes no more changes.
    pub fn fail(&self, reason: &str) {
        self.core().health.fail(&StorageError::Failed(reason.into()));
    }

    /// Since when the oldest of what it is at work at is under way: transfers of units, and their commits. A disk that hangs without an
    /// error shows here.
    pub fn busy_since(&self) -> Option<Instant> {
        self.core().pulse.busy_since()
    }

    /// How full it is.
    pub fn usage(&self) -> DeviceUsage {
        self.core().usage()
    }

    /// Writes a unit: the first `info.length` bytes of `data`, which begin at a block's boundary. Data and record are durable when it
    /// returns. The same unit again with the same content is no error.
    ///
    /// # Errors
    /// [`StorageError::Full`], [`StorageError::Fenced`], [`StorageError::Conflict`], [`StorageError::BadChecksum`] and
    /// [`StorageError::Invalid`]: nothing was changed. [`StorageError::Io`]: the data could not be written; nothing refers to it.
    /// [`StorageError::Failed`]: the device is at its end, the unit may or may not be there.
    pub async fn write_unit<B: IoBuf>(&self, info: UnitInfo, checksums: Vec<u32>, data: B) -> Result<B, StorageError> {
        write::write_unit(self.core(), info, checksums, data, false).await
    }

    /// Writes a unit that was acknowledged before and belongs here now: as [`Device::write_unit`], but its session may be closed. Of a dead fid
    /// nothing comes back as long as the device keeps a marker of it ([`crate::OpenOptions::filling`]).
    ///
    /// # Errors
    /// As those of [`Device::write_unit`].
    pub async fn restore_unit<B: IoBuf>(&self, info: UnitInfo, checksums: Vec<u32>, data: B) -> Result<B, StorageError> {
        write::write_unit(self.core(), info, checksums, data, true).await
    }

    /// Writes a unit that is there once more, in another place of the device: what lies there is damaged, and `data` begins with what it
    /// was. Durable when it returns; whoever reads meanwhile gets the old or the new one. A delete that comes first or meanwhile wins.
    ///
    /// # Errors
    /// [`StorageError::NoUnit`]: it is not there any more. [`StorageError::BadChecksum`]: `data` is not what was written.
    /// [`StorageError::Full`], [`StorageError::Invalid`], [`StorageError::Io`]: the old one is as it was.
    pub async fn rewrite_unit<B: IoBuf>(&self, fid: Fid, unit: u32, data: B) -> Result<B, StorageError> {
        write::rewrite_unit(self.core(), fid, unit, data).await
    }

    /// What a unit is, if it is here.
    pub fn unit(&self, fid: Fid, unit: u32) -> Result<Option<UnitInfo>, StorageError> {
        Ok(self.core().find(fid, unit)?.map(|record| record.info))
    }

    /// Reads whole chunks of a unit to the begin of `buf`, which begins at a block's boundary, and gives their checksums.
    ///
    /// # Errors
    /// [`StorageError::NoUnit`]; [`StorageError::Corrupt`] where what lies there is not what was written; [`StorageError::Io`];
    /// [`StorageError::Invalid`].
    pub async fn read_unit<B: IoBuf>(&self, fid: Fid, unit: u32, offset: u32, length: u32, buf: B) -> Result<(B, Vec<u32>), StorageError> {
        read::read_unit(self.core(), fid, unit, offset, length, buf).await
    }

    /// Removes all units of these fids, and refuses any that still comes. Durable when it returns; works on a full device.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] for more than [`DTX_OPS_MAX`] fids; [`StorageError::Failed`].
    pub async fn delete_fids(&self, fids: &[Fid]) -> Result<(), StorageError> {
        if fids.len() > DTX_OPS_MAX {
            return Err(StorageError::Invalid(format!("at most {DTX_OPS_MAX} fids are deleted at once, not {}", fids.len())));
        }
        self.core().delete(fids.to_vec(), true).await
    }

    /// Takes away what the device keeps of dead fids for sessions that are closed by now, which refuse them by themselves; gives how many
    /// markers that were. To be called from a thread that may block.
    ///
    /// # Errors
    /// [`StorageError::Failed`]; [`StorageError::Damaged`].
    pub fn forget_closed_sessions(&self) -> Result<usize, StorageError> {
        self.core().forget_closed_sessions()
    }

    /// Returns when every unit write that was begun before is over: after this, nothing of a view or a session that is refused by now can
    /// still come.
    pub async fn drain(&self) -> Result<(), StorageError> {
        self.core().drain().await
    }

    /// Removes all units of fids that are none of this device's any more; unlike dead ones they may come back. Durable when it returns.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] for more than [`DTX_OPS_MAX`] fids; [`StorageError::Failed`].
    pub async fn forget_fids(&self, fids: &[Fid]) -> Result<(), StorageError> {
        if fids.len() > DTX_OPS_MAX {
            return Err(StorageError::Invalid(format!("at most {DTX_OPS_MAX} fids are taken away at once, not {}", fids.len())));
        }
        self.core().delete(fids.to_vec(), false).await
    }

    /// Groups that have units here.
    ///
    /// # Errors
    /// [`StorageError::Damaged`].
    pub fn unit_groups(&self) -> Result<Vec<GroupId>, StorageError> {
        read::unit_groups(self.core())
    }

    /// A page of the units of a group, in order, after the one given.
    pub fn units(&self, group: GroupId, after: Option<(Fid, u32)>, limit: usize) -> Result<Vec<UnitInfo>, StorageError> {
        read::units(self.core(), group, after, limit)
    }

    fn core(&self) -> &Arc<Core> {
        &self.handle.core
    }

    pub(crate) fn of(core: Arc<Core>, thread: Option<std::thread::JoinHandle<()>>) -> Self {
        Self { handle: Arc::new(core::Handle::new(core, thread)), mended: 0 }
    }

    /// Commits what waits, where no thread does it.
    pub(crate) fn pump(&self) {
        commit::pump(self.core());
    }
}
