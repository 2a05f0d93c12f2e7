//! What is sent, and what happens. Numbers: processes from 0, then the daemons, then the clients.

use ha_state::{Change, Found, Registered};
use serde::{Deserialize, Serialize};
use types::map::ClusterMap;
use types::record::Row;
use types::wire::request::{Execute, ExecuteReply, Read, Refusal};
use types::{Boot, DeviceId, Epoch, HaTime, SessionId};

use crate::sim::heap::Micros;
use crate::sim::network::NodeNumber;

/// What somebody wants of HA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// A boot.
    Register {
        /// In which of its starts.
        start: u64,
        /// Its name for the registration.
        nonce: u64,
        /// Its devices.
        devices: Vec<(DeviceId, Found)>,
    },
    /// A lease.
    Renew {
        /// For which boot.
        boot: Boot,
        /// It has taken in the log up to there.
        confirmed: u64,
        /// When that was sent, on its own clock.
        sent: Micros,
    },
    /// A change that it reports. There is no answer: it says so again until the log has it.
    Report(Change),
    /// A client wants the map, and its session renewed.
    Map {
        /// Its session.
        session: SessionId,
    },
}

/// What HA answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// A registration was agreed on.
    Registered {
        /// Which.
        nonce: u64,
        /// What came of it.
        registered: Registered,
    },
    /// A lease.
    Granted {
        /// For which boot.
        boot: Boot,
        /// When its renewal was sent.
        sent: Micros,
        /// On the state of which epoch.
        epoch: Epoch,
        /// HA time.
        ha_time: HaTime,
    },
    /// The boot is over.
    OldBoot {
        /// Which.
        boot: Boot,
    },
    /// The whole state.
    Snapshot(Vec<u8>),
    /// Entries after a subscriber's cursor.
    Entries(Vec<(u64, Option<Vec<u8>>)>),
    /// The map.
    Map(Box<ClusterMap>, HaTime),
}

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Packet {
    /// To HA, through a daemon, to the leader.
    Ask {
        /// Who asks.
        from: NodeNumber,
        /// The daemon that it asked.
        via: NodeNumber,
        /// What.
        request: Request,
    },
    /// And back.
    Answer {
        /// For whom.
        to: NodeNumber,
        /// What.
        reply: Reply,
    },
    /// A subscriber asks for what comes after its cursor.
    Follow {
        /// Its cursor.
        after: u64,
    },
    /// A leader's heartbeat.
    Append {
        /// Its term.
        term: u64,
        /// What is committed.
        committed: u64,
    },
    /// A head of envelopes, as it goes over the fabric.
    Dtm {
        /// The start of the process that sends it.
        boot: Boot,
        /// The start of the process that is meant.
        to: Option<Boot>,
        /// The head.
        head: Vec<u8>,
    },
    /// A client's transaction.
    Execute {
        /// The client's call.
        call: u64,
        /// What.
        execute: Execute,
    },
    /// The answer.
    Executed {
        /// The client's call.
        call: u64,
        /// What became of it.
        reply: ExecuteReply,
    },
    /// A client's read.
    Read {
        /// The client's call.
        call: u64,
        /// What.
        read: Read,
    },
    /// The answer.
    ReadDone {
        /// The client's call.
        call: u64,
        /// The rows.
        reply: Result<Vec<Option<Row>>, Refusal>,
    },
}

/// What a client is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// On which row.
    pub row: u64,
    /// What.
    pub kind: Kind,
    /// It gives up after so long, while there are faults.
    pub patience: Micros,
    /// It asks again after so long.
    pub again: Micros,
}

/// Kinds of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A read.
    Read,
    /// A write.
    Put,
    /// A delete.
    Delete,
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
    /// The driver of a device takes a turn.
    Turn {
        /// Of which process.
        node: NodeNumber,
        /// In which of its starts.
        start: u64,
        /// Whose.
        device: DeviceId,
        /// How long it takes if it writes.
        takes: Micros,
    },
    /// A driver's machines wanted to be called.
    Deadline {
        /// Of which process.
        node: NodeNumber,
        /// In which of its starts.
        start: u64,
        /// Whose.
        device: DeviceId,
        /// How long the turn takes if it writes.
        takes: Micros,
    },
    /// A process renews its lease, or registers again.
    Renewal {
        /// Which.
        node: NodeNumber,
        /// In which of its starts.
        start: u64,
    },
    /// A process asks for entries and reports what the log does not have yet.
    Poll {
        /// Which.
        node: NodeNumber,
        /// In which of its starts.
        start: u64,
    },
    /// A leader's heartbeat; a quorum that answers commits what is there.
    Beat {
        /// Whose.
        node: NodeNumber,
        /// Of which term.
        term: u64,
    },
    /// A quorum has written what a leader had appended up to there.
    Written {
        /// Whose.
        node: NodeNumber,
        /// Of which term.
        term: u64,
        /// Up to where.
        upto: u64,
    },
    /// A quorum has confirmed a leader, for a renewal; `read` must be applied first.
    Confirmed {
        /// The leader.
        node: NodeNumber,
        /// Its term.
        term: u64,
        /// What must be applied first.
        read: u64,
        /// For whom.
        from: NodeNumber,
        /// The daemon that it asked.
        via: NodeNumber,
        /// What it asked.
        request: Request,
    },
    /// A leader looks at what it should propose.
    Look {
        /// Which.
        node: NodeNumber,
        /// Its term.
        term: u64,
    },
    /// A daemon that has not heard of a leader for so long stands for election.
    Election {
        /// Which.
        node: NodeNumber,
        /// In which of its starts.
        start: u64,
        /// For so long.
        silence: Micros,
        /// So many of the entries that no quorum has yet are in its log.
        survive: u64,
    },
    /// A daemon sees that the process beside it has ended.
    SeeEnd {
        /// The daemon.
        node: NodeNumber,
        /// In which of its starts.
        start: u64,
        /// The boot that ended.
        boot: Boot,
    },
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
    /// A client asks for the map.
    Refresh {
        /// Which.
        client: u32,
    },
    /// A process or a daemon dies. What its kernel has taken is not lost.
    Kill {
        /// Which.
        node: NodeNumber,
        /// How long the daemon beside it takes to see that.
        seen: Micros,
    },
    /// The power of a host goes, in the middle of the write or sync of each of its devices that comes after so many others.
    PowerCut {
        /// Which.
        host: u32,
        /// After so many; at once where none.
        after: Option<u64>,
    },
    /// Writes or syncs of metadata of a device fail.
    Break {
        /// Which.
        device: DeviceId,
        /// Writes, or else syncs.
        writes: bool,
    },
    /// A device is replaced by an empty one, where its process is down.
    Blank {
        /// Which.
        device: DeviceId,
    },
    /// A device has so much room for metadata from now on.
    Room {
        /// Which.
        device: DeviceId,
        /// In bytes.
        bytes: u64,
    },
    /// It starts.
    Start {
        /// Which.
        node: NodeNumber,
    },
    /// It stands still.
    Pause {
        /// Which.
        node: NodeNumber,
    },
    /// It goes on.
    Resume {
        /// Which.
        node: NodeNumber,
    },
    /// Directions between hosts are cut.
    Cut {
        /// From and to.
        pairs: Vec<(NodeNumber, NodeNumber)>,
    },
    /// Directions are mended.
    Mend {
        /// From and to.
        pairs: Vec<(NodeNumber, NodeNumber)>,
    },
    /// The phase of faults is over.
    Heal,
    /// Clients stop.
    Quiet,
    /// Everything is looked at.
    End,
}
