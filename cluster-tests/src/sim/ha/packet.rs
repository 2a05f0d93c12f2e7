//! What is sent, and what happens.

use ha_state::{Change, Found};
use serde::{Deserialize, Serialize};
use types::{Boot, DeviceId, Epoch, Incarnation};

use super::scenes::Scene;
use crate::sim::heap::Micros;
use crate::sim::network::NodeNumber;

/// What a process wants of HA.
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
}

/// What HA answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// A registration was agreed on.
    Registered {
        /// Which.
        nonce: u64,
        /// The boot.
        boot: Boot,
        /// Formats of its devices.
        formats: Vec<(DeviceId, Incarnation)>,
    },
    /// A lease.
    Granted {
        /// For which boot.
        boot: Boot,
        /// When its renewal was sent.
        sent: Micros,
        /// On the state of which epoch.
        epoch: Epoch,
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
}

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Packet {
    /// From a process, through a daemon, to the leader.
    Ask {
        /// Who asks: a process, or a daemon for itself.
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
}

/// A thing that an operator, or chance, does to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Whim {
    /// A daemon stands for election without need.
    Elect,
    /// A device breaks.
    BreakDevice,
    /// A device hangs, or one that does answers again.
    HangDevice,
    /// A broken device is replaced by a blank one at the next start of its process.
    BlankDevice,
    /// A learner joins a group.
    Learn,
    /// A learner takes a member's place.
    Replace,
    /// An operator wants a device replaced, or no longer.
    Leave,
    /// A primary is told to give up.
    StepDown,
    /// An operator says for how long what is away is waited for.
    Away,
    /// An operator begins the maintenance of a node, or ends it.
    Maintain,
}

/// One thing that happens. Numbers: processes from 0, then the daemons.
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
    /// A quorum is asked whether a leader still leads, for a renewal.
    Confirm {
        /// The leader.
        node: NodeNumber,
        /// Its term.
        term: u64,
        /// For the process.
        from: NodeNumber,
        /// The daemon that it asked.
        via: NodeNumber,
        /// Its renewal.
        request: Request,
        /// How long the quorum's word takes to get back.
        back: Micros,
    },
    /// The quorum's word is there.
    Confirmed {
        /// The leader.
        node: NodeNumber,
        /// Its term.
        term: u64,
        /// What must be applied first.
        read: u64,
        /// For the process.
        from: NodeNumber,
        /// The daemon that it asked.
        via: NodeNumber,
        /// Its renewal.
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
    /// A process or a daemon dies.
    Kill {
        /// Which.
        node: NodeNumber,
        /// How long the daemon beside it takes to see that.
        seen: Micros,
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
    /// Something that nobody needed.
    Do {
        /// What.
        whim: Whim,
        /// A number that chooses among what there is.
        choice: u32,
    },
    /// A situation that a rule of leases is for.
    Play {
        /// Which.
        scene: Scene,
        /// A number that chooses among what there is.
        choice: u32,
    },
    /// The phase of faults is over.
    Heal,
    /// Everything is looked at; what the next step of the end is.
    End,
}
