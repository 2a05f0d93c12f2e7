//! Commands: every change of the HA state is one of these, agreed on by Raft and applied in log order.
//!
//! A command is self-contained: who follows the log needs nothing else. It carries the epoch on which it was decided and names what it
//! relies on (boots, incarnations, view numbers), so that a decision that is no longer true is refused. Applying one twice equals
//! applying it once. Form and versions: `docs/formats/ha-command.md`.

use serde::{Deserialize, Serialize};
use types::codec::{CodecError, decode, encode};
use types::map::CatalogueKind;
use types::records::RecordChange;
use types::{Boot, CatalogueId, DeviceId, Epoch, GroupId, HaTime, Incarnation, NodeId, PoolId, SessionId, ViewNumber};

use crate::state::FilledSlot;
use crate::topology::{DeviceSpec, NodeSpec, Topology};

/// Version of the byte form of [`Command`], its first byte.
pub const COMMAND_VERSION: u8 = 1;

/// One entry of HA's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The epoch of the state on which it was decided.
    pub epoch: Epoch,
    /// The leader's HA time; the state keeps the greatest.
    pub at: HaTime,
    /// The leader's wall clock in milliseconds since 1970. Shown in the history, decides nothing.
    pub wall_ms: u64,
    /// What changes.
    pub change: Change,
}

/// What one command changes. Variants are numbered for life by their order: add at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The cluster as declared. Once; the same topology again changes nothing.
    Bootstrap(Topology),
    /// A process has started (or has learnt that it was declared lost, and starts anew): it gets a boot.
    ///
    /// To be proposed only when an earlier process of that node has surely ended or its lease has: the locks that the new one holds on
    /// its devices say so, except where the same process registers again after it learnt of its loss.
    RegisterProcess {
        /// Of which node.
        node: NodeId,
        /// Its process id, for display.
        pid: u32,
        /// Drawn by the process for this registration: the same one sent again is answered with the same boot.
        nonce: u64,
        /// What it found on each of its devices. A configured device that is not listed was not found.
        devices: Vec<(DeviceId, Found)>,
    },
    /// A process is gone, or its lease is. In the same command its devices become TRANSIENT and its primaries go to others.
    ///
    /// To be proposed only when the process has ended, or [`crate::lease::Leases`] says that its lease is surely over.
    ProcessLost {
        /// Of which node.
        node: NodeId,
        /// Which start of it.
        boot: Boot,
        /// How that was seen.
        reason: LossReason,
    },
    /// A process has everything: it had its `End` from the primary of each group in [`crate::State::groups_to_recover`].
    Recovered {
        /// Which start.
        boot: Boot,
        /// The epoch that announced it RECOVERING: that of its registration.
        epoch: Epoch,
    },
    /// Primaries that are active, all of one process.
    Active {
        /// The process.
        boot: Boot,
        /// Each group with the view in which its primary is active.
        groups: Vec<(GroupId, ViewNumber)>,
    },
    /// Views that the leader decided to change; each is checked alone, what is no longer true is left out.
    ChangeViews(Vec<ViewChange>),
    /// The first groups of a pool, from index 0, computed with `layout`.
    CreateGroups {
        /// Which pool; it has none so far.
        pool: PoolId,
        /// One entry a group: a device a slot; the first member of a replicated group is its preferred primary.
        groups: Vec<Vec<Option<DeviceId>>>,
    },
    /// Slots of erasure-coded groups that move.
    SetPlacement(Vec<GroupSlots>),
    /// Errors of a device that did not end it: counted and shown.
    DeviceError {
        /// Which device.
        device: DeviceId,
        /// In which format of it.
        incarnation: Incarnation,
        /// How many of this kind since the last report.
        count: u32,
        /// Operation, code and offset, in words.
        error: String,
        /// The node's count of its reports on this device in this boot, from 1: a report that was seen is not counted again.
        report: u64,
    },
    /// A device is given up in this incarnation.
    DeviceFailed {
        /// Which device.
        device: DeviceId,
        /// In which format of it.
        incarnation: Incarnation,
        /// Whether its process has stopped using it (true where the process itself reported it): then its primaries go to others at once,
        /// else after their lease.
        ended: bool,
        /// Why, in words.
        reason: String,
    },
    /// A new catalogue.
    CreateCatalogue {
        /// Its name, unique in its kind.
        name: String,
        /// What it is for.
        kind: CatalogueKind,
        /// The replicated pool; `None` takes the first.
        pool: Option<PoolId>,
        /// Over how many groups; 0 takes [`crate::state::CATALOGUE_WIDTH`].
        width: u32,
    },
    /// A catalogue goes: no write of it is admitted by whoever has taken this in, and the primaries of its groups empty it. Its id is never
    /// used again, its name is free at once.
    DropCatalogue {
        /// Which.
        id: CatalogueId,
    },
    /// A native client's session; its id is the index of this entry.
    OpenSession {
        /// Drawn by the client: the same one sent again is answered with the same session.
        nonce: u64,
        /// Who, for display.
        name: String,
    },
    /// The end of a native client's session: nothing of it is accepted any more.
    CloseSession {
        /// Which.
        session: SessionId,
    },
    /// HA time goes on: the `at` of this command says all.
    AdvanceTime,
    /// Which HA daemons vote.
    SetVoters(Vec<NodeId>),
    /// A device that is away, or has come back and is not recovered, lacks what no log is kept of any longer: its groups are to be copied to it.
    /// Refused where a group would be left with fewer than `f+1` members that have everything.
    DeviceLags {
        /// Which device.
        device: DeviceId,
        /// In which format of it.
        incarnation: Incarnation,
        /// Why, in words.
        reason: String,
    },
    /// Groups in which nothing of a dropped catalogue is left, all of one process.
    CataloguesEmptied {
        /// The process.
        boot: Boot,
        /// Each with the group and the view in which its primary, active, saw that.
        emptied: Vec<(CatalogueId, GroupId, ViewNumber)>,
    },
    /// A device answers nothing, and its process has stopped using it: FAILED; but TRANSIENT where a group would be left with too few that have
    /// everything, for it has what it had.
    DeviceHangs {
        /// Which device.
        device: DeviceId,
        /// In which format of it.
        incarnation: Incarnation,
        /// Why, in words.
        reason: String,
    },
    /// Learners that hold what their groups hold, as the active primaries of one process saw.
    Filled {
        /// The process.
        boot: Boot,
        /// Each group with the view in which that was seen, its learner, and the format of that.
        groups: Vec<(GroupId, ViewNumber, DeviceId, Incarnation)>,
    },
    /// What an operator wants of a device.
    AskDevice {
        /// Which device.
        device: DeviceId,
        /// In which format of it.
        incarnation: Incarnation,
        /// What.
        wish: DeviceWish,
    },
    /// A change of the global records: buckets' settings, accounts.
    Record(RecordChange),
    /// Slots that have all their units, as the process of their devices rebuilt them.
    SlotsFilled {
        /// The process.
        boot: Boot,
        /// Each with the view in which that was so.
        slots: Vec<FilledSlot>,
    },
    /// What an operator wants of the cluster.
    AskCluster(ClusterWish),
    /// A node with its devices joins. Pools that take all devices take these too, and places are spread over them.
    AddNode {
        /// The node; its daemon has no vote yet, whatever is said here.
        node: NodeSpec,
        /// Its devices.
        devices: Vec<DeviceSpec>,
    },
    /// Nothing was left to move for balance in the state of that epoch.
    Balanced(Epoch),
    /// A device is given up, for it is away for longer than the policy bears. Refused where that is not so any more, its node is in maintenance,
    /// or a group needs what is on it.
    GiveUp {
        /// Which device.
        device: DeviceId,
        /// In which format of it.
        incarnation: Incarnation,
    },
    /// What an operator wants of a node.
    AskNode {
        /// Which.
        node: NodeId,
        /// What.
        wish: NodeWish,
    },
    /// A node that an operator wants to be rid of, and that holds nothing any more, is forgotten.
    RemoveNode(NodeId),
    /// A node that is to be replaced takes part no more: what is on its devices counts as lost, and its daemon's store is nobody's.
    ///
    /// To be proposed only when the applied membership of the Raft group is without it.
    NodeOut {
        /// Which.
        node: NodeId,
        /// The store of its daemon, where that was ever met.
        store: Option<u128>,
    },
    /// Nothing is missing on a node that was replaced.
    NodeReplaced(NodeId),
}

/// What an operator wants of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NodeWish {
    /// It may be stopped at any time from now on: primaries leave it, nothing is given to it, and nothing of it is given up.
    StartMaintenance,
    /// It is as any other again.
    EndMaintenance,
    /// What it has moves to others, then it is forgotten.
    Remove,
    /// It stays.
    Keep,
    /// New hardware takes its place, under its name.
    Replace,
}

/// What an operator wants of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ClusterWish {
    /// No slot moves and no unit is rebuilt on another device until further notice.
    PauseRepair,
    /// They do so again.
    ResumeRepair,
    /// Places are spread over all devices.
    Rebalance,
    /// No place moves for balance until further notice.
    PauseRebalance,
    /// They do so again.
    ResumeRebalance,
    /// A device that its process, which lives, does not use is given up after so many milliseconds; 0 is never.
    DeviceAway(u64),
    /// The devices of a node that is away are given up after so many; 0 is never.
    NodeAway(u64),
}

/// What an operator wants of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DeviceWish {
    /// It is given up. Refused where a group needs what is on it.
    Fail,
    /// Its groups and slots move to others, while it serves.
    Replace,
    /// They do so no longer.
    Keep,
    /// Everything on it is read, once, from now on.
    Scrub,
}

/// What a process found on one of its devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// Nothing: it is to be formatted.
    Blank,
    /// A format of this cluster.
    Formatted {
        /// The uuid in its superblock.
        uuid: u128,
        /// The incarnation in its superblock.
        incarnation: Incarnation,
    },
    /// It is there and does not open.
    Unusable,
    /// What lies there belongs to another cluster.
    OtherCluster,
    /// What lies there is another device of this cluster.
    OtherDevice,
    /// What lies there was written by newer software.
    Newer,
}

/// How HA saw that a process is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossReason {
    /// Its HA daemon saw it end.
    Ended,
    /// Its lease was not renewed.
    LeaseExpired,
    /// It was stopped by an operator.
    Stopped,
}

/// One change of a view of a replicated group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewChange {
    /// Which group.
    pub group: GroupId,
    /// Its view when that was decided.
    pub from: ViewNumber,
    /// What changes.
    pub change: MemberChange,
}

/// What a view changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberChange {
    /// The primary, alive, is to give up: a view without one. The next may be appointed when it has confirmed this entry, or its lease of
    /// before is over.
    StepDown,
    /// A group without a primary gets one.
    ///
    /// To be proposed only when the primary before it has confirmed its step down, has ended, or its lease is surely over.
    Appoint(DeviceId),
    /// Members to be.
    Learners(Vec<DeviceId>),
    /// One member gives its place to a learner that is filled. Refused until the present members were recorded active.
    Replace {
        /// The member that goes.
        from: DeviceId,
        /// The learner that takes its place.
        to: DeviceId,
    },
}

/// New slots of an erasure-coded group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSlots {
    /// Which group.
    pub group: GroupId,
    /// Its view when that was decided.
    pub from: ViewNumber,
    /// One device a slot; `None` where no legal device is left.
    pub slots: Vec<Option<DeviceId>>,
}

impl Command {
    /// Its bytes in the log.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![COMMAND_VERSION];
        bytes.extend_from_slice(&encode(self));
        bytes
    }

    /// The command of those bytes; a version that this software does not know is an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        decode(versioned(bytes, COMMAND_VERSION, "HA command")?)
    }
}

pub(crate) fn versioned<'a>(bytes: &'a [u8], version: u8, what: &'static str) -> Result<&'a [u8], CodecError> {
    match bytes.split_first() {
        Some((first, rest)) if *first == version => Ok(rest),
        Some((first, _)) => Err(CodecError::Decode { what, reason: format!("version {first}, this software knows {version}") }),
        None => Err(CodecError::Decode { what, reason: "no bytes".into() }),
    }
}
