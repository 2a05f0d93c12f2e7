//! What crosses the simulated network, and what happens in the world: closed and encodable, since a recording is a list of it.

use dtm::{ClientId, Placement};
use serde::{Deserialize, Serialize};
use types::ops::Op;
use types::record::{Row, RowKey, Write};
use types::wire::dtm::Envelope;
use types::wire::request::{ExecuteReply, Refusal};
use types::{Boot, DeviceId, DtxId, Epoch, GroupId, HaTime, Incarnation, Seq, ViewNumber};

use super::client::Intent;
use crate::sim::disk::Ticket;
use crate::sim::heap::Micros;
use crate::sim::network::NodeNumber;

/// One message of the world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Packet {
    /// Between replicas.
    Replica(Envelope),
    /// A client's transaction.
    Execute {
        /// The client's call.
        call: u64,
        /// The view that it believes in.
        view: ViewNumber,
        /// The transaction.
        dtx: DtxId,
        /// What it does.
        ops: Vec<Op>,
        /// What it does in other groups.
        parts: Vec<(GroupId, Vec<Write>)>,
    },
    /// The answer.
    Executed {
        /// The client's call.
        call: u64,
        /// What became of it.
        reply: ExecuteReply,
    },
    /// A client's read of one row.
    Read {
        /// The client's call.
        call: u64,
        /// The view that it believes in.
        view: ViewNumber,
        /// Which row.
        row: RowKey,
    },
    /// The answer.
    ReadDone {
        /// The client's call.
        call: u64,
        /// The row.
        reply: Result<Option<Row>, Refusal>,
    },
    /// A client asks the primary up to where a member has to have applied.
    ReadPoint {
        /// The client's call.
        call: u64,
        /// The view that it believes in.
        view: ViewNumber,
    },
    /// The answer.
    Point {
        /// The client's call.
        call: u64,
        /// Up to where.
        reply: Result<Seq, Refusal>,
    },
    /// A client's read of one row of a member; [`Packet::ReadDone`] answers it.
    ReadNear {
        /// The client's call.
        call: u64,
        /// What the primary said.
        point: Seq,
        /// Which row.
        row: RowKey,
    },
    /// A process that starts tells the authority.
    Register {
        /// Which start it is, so that asking again is not another start.
        start: u64,
        /// Whether its device is empty.
        blank: bool,
    },
    /// The answer.
    Registered {
        /// Which start it is about.
        start: u64,
        /// Its boot.
        boot: Boot,
        /// The format of its device.
        incarnation: Incarnation,
        /// The epoch in which that was registered.
        registered: Epoch,
    },
    /// A process asks for a lease and says how far it has taken in the authority's decisions.
    Renew {
        /// Its boot.
        boot: Boot,
        /// When it asked, on its own clock, in microseconds.
        sent: Micros,
        /// Its epoch.
        epoch: Epoch,
    },
    /// The lease.
    Lease {
        /// For which boot.
        boot: Boot,
        /// When it was asked for.
        sent: Micros,
        /// As of which epoch.
        epoch: Epoch,
        /// HA time.
        ha_time: HaTime,
    },
    /// The authority has given this boot up.
    Lost {
        /// Which.
        boot: Boot,
    },
    /// What the authority says of the group.
    Placement(Box<Placement>),
    /// A replica is the active primary.
    Active {
        /// Of which view.
        view: ViewNumber,
    },
    /// A process has recovered.
    Recovered {
        /// From which announcement.
        epoch: Epoch,
        /// Which boot.
        boot: Boot,
    },
    /// No log can be kept for a device any longer.
    NeedsCopy {
        /// Which.
        device: DeviceId,
        /// In which format.
        incarnation: Incarnation,
    },
    /// A client asks for the placement.
    Map,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Happening {
    /// A message arrives.
    Deliver {
        /// From whom.
        from: NodeNumber,
        /// At whom.
        to: NodeNumber,
        /// What.
        packet: Packet,
    },
    /// A process takes a turn of its driver's loop.
    Turn {
        /// Which.
        node: NodeNumber,
        /// In which of its starts.
        start: u64,
    },
    /// A sync ends.
    Synced {
        /// Whose.
        node: NodeNumber,
        /// In which of its starts.
        start: u64,
        /// Which.
        ticket: Ticket,
    },
    /// A process's machine wanted to be called.
    Deadline {
        /// Which.
        node: NodeNumber,
        /// In which of its starts.
        start: u64,
    },
    /// A process renews its lease, or says again what the authority has not confirmed.
    Renewal {
        /// Which.
        node: NodeNumber,
        /// In which of its starts.
        start: u64,
    },
    /// The authority looks at its clock.
    Look,
    /// A client begins an operation.
    Begin {
        /// Which.
        client: u32,
        /// What it wants.
        intent: Intent,
    },
    /// A client has waited long enough.
    Impatient {
        /// Which.
        client: u32,
        /// For the answer to which call.
        call: u64,
    },
    /// A process dies; of a thousand writes that are not synced, so many are on the medium.
    Kill {
        /// Which.
        node: NodeNumber,
        /// Of a thousand.
        kept_per_mille: u64,
        /// Whether the authority sees it at once.
        seen: bool,
    },
    /// A process dies and its device comes back empty, if the group can bear it.
    Wipe {
        /// Which.
        node: NodeNumber,
    },
    /// A process starts.
    Start {
        /// Which.
        node: NodeNumber,
    },
    /// A process stands still.
    Pause {
        /// Which.
        node: NodeNumber,
    },
    /// A process goes on.
    Resume {
        /// Which.
        node: NodeNumber,
    },
    /// Directions are cut.
    Cut {
        /// From and to.
        pairs: Vec<(NodeNumber, NodeNumber)>,
    },
    /// Directions are mended.
    Mend {
        /// From and to.
        pairs: Vec<(NodeNumber, NodeNumber)>,
    },
    /// The authority moves the primary without need.
    MoveView {
        /// How many members further.
        steps: u32,
    },
    /// The phase of faults is over.
    Heal,
    /// Clients stop.
    Quiet,
    /// Everything is looked at.
    End,
}

/// A call as a process keeps it until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The machine's name for it.
    pub client: ClientId,
    /// Who asked.
    pub from: NodeNumber,
    /// The asker's name for it.
    pub call: u64,
}
