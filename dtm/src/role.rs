//! What a replica is doing in the view that it has promised.
//!
//! ```text
//! Follower --HA names me--> Collecting --f+1 of old and of members--> Fetching --I have the best log--> Installing
//!     ^                        ^                                          |                                  |
//!     |                        `------------the source is silent----------'                `normal` is durable
//!     `------------------a higher view, from HA or from a peer, from anywhere------------------------- Primary
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use types::record::{Position, RowKey};
use types::wire::request::ExecuteReply;
use types::{Boot, DeviceId, DtxId, Epoch, GroupId, Incarnation, Seq, ViewNumber};

use crate::copy::CopyOut;
use crate::crossing::Crossing;
use crate::effect::Ticket;
use crate::event::{ClientId, Instant};
use crate::throttle::Throttle;

/// See the drawing above.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// Takes what the primary of the promised view sends.
    #[default]
    Follower,
    /// Asks everybody what they hold.
    Collecting(Collecting),
    /// Brings its log in line with the best one.
    Fetching(Fetching),
    /// `normal` is on its way to the device.
    Installing {
        /// The change that makes it durable.
        ticket: Ticket,
        /// What the others hold.
        answers: BTreeMap<DeviceId, Answer>,
    },
    /// Originates.
    Primary(Box<Primary>),
}

/// What a replica answered to `Peer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Answer {
    pub(crate) normal: Option<ViewNumber>,
    pub(crate) last: Position,
    pub(crate) stable: Seq,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Collecting {
    pub(crate) answers: BTreeMap<DeviceId, Answer>,
    pub(crate) again_at: Instant,
    pub(crate) wait_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fetching {
    pub(crate) answers: BTreeMap<DeviceId, Answer>,
    pub(crate) source: DeviceId,
    /// The source's last record.
    pub(crate) last: Position,
    /// Both logs agree up to here.
    pub(crate) matched: Seq,
    pub(crate) again_at: Instant,
    pub(crate) tries: u32,
    /// Who has the same log, but not from where this one ends.
    pub(crate) pruned: BTreeSet<DeviceId>,
}

/// A primary's knowledge of its view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Primary {
    /// Last seq when `normal` was set.
    pub(crate) base: Seq,
    /// f+1 members hold the base under this view.
    pub(crate) active: bool,
    /// Members of the view, this one among them.
    pub(crate) members: Vec<DeviceId>,
    /// Members and learners but this one.
    pub(crate) peers: BTreeMap<DeviceId, Progress>,
    /// Names of the records in flight.
    pub(crate) in_flight: BTreeMap<DtxId, Seq>,
    pub(crate) in_flight_bytes: usize,
    /// Who waits for which record.
    pub(crate) callers: BTreeMap<Seq, Vec<ClientId>>,
    /// Rows of records that the device does not show yet: which record wrote them last, and with which of its writes.
    pub(crate) overlay: BTreeMap<RowKey, (Seq, u32)>,
    /// Answers that wait for a lease.
    pub(crate) held: VecDeque<Held>,
    /// What is admitted while a recovering member lags.
    pub(crate) throttle: Option<Throttle>,
    /// Transactions over several groups that it coordinates and that are applied and not done.
    pub(crate) crossings: BTreeMap<Seq, Crossing>,
    /// Those of them whose parts are all STABLE, for which `Done` is to be logged.
    pub(crate) crossed: BTreeSet<Seq>,
    /// Parts of others' by their names that are to be said to be STABLE: the seq here, and whom.
    pub(crate) parts: BTreeMap<(GroupId, Seq), (Seq, DeviceId)>,
    /// What the rows showed when that was last looked at.
    pub(crate) parts_shown: Seq,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    pub(crate) client: ClientId,
    pub(crate) reply: ExecuteReply,
    pub(crate) after: Option<Ticket>,
}

/// What a primary knows of one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Progress {
    /// The next record to send.
    pub(crate) next: Seq,
    /// Nothing below has to be sent again.
    pub(crate) resume: Seq,
    /// The peer's log is known to agree with ours up to `resume`.
    pub(crate) matched: bool,
    /// What it holds, and counts.
    pub(crate) counted: Seq,
    /// It has `normal` = this view.
    pub(crate) normal: bool,
    /// The last record of each Redo on its way.
    pub(crate) on_way: VecDeque<Seq>,
    /// Gaps that it answered in a row.
    pub(crate) gaps: u32,
    /// Records for it are being read from the device.
    pub(crate) reading: bool,
    /// What it was told last.
    pub(crate) told_stable: Seq,
    /// When to send again what is on its way.
    pub(crate) again_at: Option<Instant>,
    pub(crate) wait_ms: u64,
    /// When it is to hear of a new `stable`.
    pub(crate) notice_at: Option<Instant>,
    pub(crate) heartbeat_at: Instant,
    /// It was reported for full copy.
    pub(crate) copy_reported: bool,
    /// It does not count, by its own word, whatever it holds.
    pub(crate) blank: Option<Blank>,
    /// Of a learner that counts: what it holds when it is filled, and whether HA was told.
    pub(crate) fill: Option<(Seq, bool)>,
    /// The copy that goes out to it.
    pub(crate) copy: Option<CopyOut>,
    /// Its recovery, while HA says RECOVERING.
    pub(crate) recovery: Option<Recovery>,
}

/// A peer that does not count: blank, or about to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Blank {
    /// In which start of its process.
    pub(crate) boot: Boot,
    /// What it has or is being copied to it, up to here: the log is kept from there on. `None`: it has nothing that could be gone on from.
    pub(crate) kept: Option<Seq>,
}

/// A peer's recovery as its primary sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Recovery {
    pub(crate) epoch: Epoch,
    pub(crate) boot: Boot,
    /// It gets its `End` once it holds this.
    pub(crate) need: Seq,
    /// It holds it, by its own word in this boot.
    pub(crate) reached: bool,
    /// `End` was said; when to say it again.
    pub(crate) again_at: Option<Instant>,
}

/// What a device said it has, whatever view it was in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Heard {
    pub(crate) incarnation: Incarnation,
    pub(crate) boot: Boot,
    pub(crate) upto: Seq,
}
