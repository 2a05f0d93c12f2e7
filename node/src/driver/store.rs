//! The narrow view that a driver has of its device: rows, logs and states of replicas, changed in batches.

use std::borrow::Cow;

use types::record::{Record, Row, RowKey};
use types::{GroupId, Seq, Version, ViewNumber};

/// One change of what a device holds of a group.
#[derive(Clone, Debug)]
pub enum Change<'a> {
    /// A record at the end of the log.
    Append(&'a Record),
    /// Takes every record above this one out of the log.
    Cut(Seq),
    /// Takes every record at or below this one out of the log.
    Prune(Seq),
    /// The replica's own state, whole.
    State(Vec<u8>),
    /// A row, as it is from now on.
    Put {
        /// Which.
        key: Cow<'a, RowKey>,
        /// The record that wrote it.
        version: Version,
        /// What it holds.
        value: Cow<'a, [u8]>,
    },
    /// A row goes.
    Delete(Cow<'a, RowKey>),
    /// All rows and the whole log of the group go; a log may begin anywhere after it.
    Wipe,
    /// All rows, the whole log and the replica's state of the group go: the device has nothing of it any more.
    Forget,
    /// Unit writes of views of the (erasure-coded) group below this one are refused from now on.
    Fence(ViewNumber),
}

/// How much more a device takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It does.
    Free,
    /// It is full: what is left is for the log, deletes and recovery.
    Full,
    /// What is left is for deletes and changes of view.
    Out,
    /// What is left is for what it has taken already: not even the log grows.
    Spent,
}

/// Rows of a group as a snapshot shows them, in the order of catalogues and keys.
#[derive(Clone, Debug)]
pub struct Page {
    /// The rows.
    pub rows: Vec<(RowKey, Row)>,
    /// Whether none follows.
    pub end: bool,
}

/// Metadata of one device. An error of a write is the end of the device in this incarnation.
pub trait Store: Send + 'static {
    /// What can go wrong.
    type Error: std::error::Error + Send + Sync + 'static;
    /// Rows and states of one moment.
    type Snapshot: Send + 'static;

    /// Whether there is room; an error where the device has failed, of whatever.
    fn room(&self) -> Result<Room, Self::Error>;

    /// Makes changes, all or none, in order; with `sync` they are on stable media when it returns, with every change before them.
    fn write(&self, changes: &[(GroupId, Change<'_>)], sync: bool) -> Result<(), Self::Error>;

    /// An error where the device has failed, of whatever. Never waits.
    fn check(&self) -> Result<(), Self::Error>;
    /// The device takes no more changes, of whomever.
    fn fail(&self, reason: &str);

    /// A row as it is now.
    fn row(&self, group: GroupId, key: &RowKey) -> Result<Option<Row>, Self::Error>;

    /// Records of a log, from the first to the last wanted, stopping at so many bytes but giving one at least.
    fn log(&self, group: GroupId, from: Seq, upto: Seq, bytes_max: usize) -> Result<Vec<Record>, Self::Error>;

    /// Everything as of now, and the state that the replica of a group has in it.
    fn snapshot(&self, group: GroupId) -> Result<(Self::Snapshot, Vec<u8>), Self::Error>;

    /// Rows of a group in a snapshot that follow a key, or the first; so many rows at most, stopping at so many bytes but giving one at least.
    fn page(
        &self,
        snapshot: &Self::Snapshot,
        group: GroupId,
        after: Option<&RowKey>,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Page, Self::Error>;
}
