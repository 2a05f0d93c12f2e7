//! What became of a command. Raft answers the proposer with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use types::records::RecordDone;
use types::{Boot, CatalogueId, DeviceId, Epoch, GroupId, HaTime, Incarnation, NodeId, PoolId, SessionId};

use crate::topology::TopologyError;

/// Applied, or refused without any effect.
pub type Outcome = Result<Done, Refused>;

/// What an applied command gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// The state has changed.
    Changed,
    /// It was so already: nothing has changed.
    AlreadySo,
    /// A process has its boot.
    Registered(Registered),
    /// A catalogue is there.
    Catalogue {
        /// Its id.
        id: CatalogueId,
        /// Whether this command made it.
        created: bool,
    },
    /// A session is open.
    Session(SessionId),
    /// What a change of the global records came to.
    Record(RecordDone),
}

/// What a process is told at registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// This start of the process; also its session as a writer.
    pub boot: Boot,
    /// The epoch that announced it RECOVERING, to be named in `Recovered`.
    pub epoch: Epoch,
    /// HA time when this was answered.
    pub ha_time: HaTime,
    /// What to do with each of its configured devices.
    pub devices: BTreeMap<DeviceId, Verdict>,
}

/// What a process is to do with a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Go on with what is on it.
    Use(Incarnation),
    /// Format it with this incarnation.
    Format(Incarnation),
    /// Leave it alone; in words, why.
    Refuse(String),
}

/// Why a command had no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refused {
    /// No topology yet.
    #[error("the cluster has not been created yet")]
    NotCreated,
    /// Another topology is in force.
    #[error("the cluster has been created already, with another topology")]
    CreatedOtherwise,
    /// The topology cannot be.
    #[error("the topology: {0}")]
    Topology(TopologyError),
    /// The entry's index is not after the last one.
    #[error("entry {index} is not after {last}")]
    Replayed {
        /// Of the entry.
        index: u64,
        /// The last one applied.
        last: u64,
    },
    /// No such node.
    #[error("{0} is not in this cluster")]
    NoNode(NodeId),
    /// No such device, or not of that node.
    #[error("{0} is not in this cluster, or not in that node")]
    NoDevice(DeviceId),
    /// No such pool, or not of that kind.
    #[error("{0} is not in this cluster, or cannot be used for that")]
    NoPool(PoolId),
    /// The process has another boot by now, or none.
    #[error("{boot} is not the present start of a live process: register again")]
    OldBoot {
        /// The boot that the command names.
        boot: Boot,
    },
    /// The device has another incarnation by now.
    #[error("{device} is not in {incarnation} any more")]
    OldIncarnation {
        /// Which device.
        device: DeviceId,
        /// The incarnation that the command names.
        incarnation: Incarnation,
    },
    /// `Recovered` names another epoch than the one that announced the process RECOVERING.
    #[error("{boot} was announced RECOVERING in {announced}, not in {named}")]
    OtherEpoch {
        /// Which start.
        boot: Boot,
        /// The epoch of its registration.
        announced: Epoch,
        /// The epoch that the command names.
        named: Epoch,
    },
    /// None of the views that the command names is the present one.
    #[error("the views that this was decided on are superseded")]
    Superseded,
    /// The pool has groups.
    #[error("{0} has its groups already")]
    HasGroups(PoolId),
    /// A placement that breaks a rule.
    #[error("group {group}: {problem}")]
    Placement {
        /// Which group.
        group: GroupId,
        /// Which rule.
        problem: String,
    },
    /// No groups to put a catalogue on.
    #[error("no replicated pool has its groups yet: wait until all devices have registered (`ha status`)")]
    NoGroups,
    /// A name out of bounds.
    #[error("a catalogue's name has 1 to 255 bytes and no control characters")]
    Name,
    /// No such catalogue.
    #[error("{0} is not there")]
    NoCatalogue(CatalogueId),
    /// No such session.
    #[error("{0} is not open")]
    NoSession(SessionId),
    /// As many as the cluster may have.
    #[error("at most {max} {what}")]
    TooMany {
        /// Of what.
        what: String,
        /// The bound.
        max: usize,
    },
    /// Another process registers under the name of one that lives, with a blank device in the place of one that is in use.
    #[error(
        "{device} is in use by the process of {node} that runs (pid {pid}), and blank here: was another node's name meant? Otherwise stop that process"
    )]
    Usurped {
        /// Whose name it is.
        node: NodeId,
        /// The process that has it.
        pid: u32,
        /// The device.
        device: DeviceId,
    },
    /// A name of an account or a key out of bounds.
    #[error(
        "names of accounts and keys have 1 to 128 letters, digits and characters of `_-.@$+=,`, those for display no control characters"
    )]
    AccountName,
    /// A target of events whose name, address or secret is out of bounds.
    #[error("names of targets have 1 to 64 letters, digits and characters of `_-.`, their addresses at most 2048 bytes")]
    Target,
    /// No such account.
    #[error("the account `{0}` is not there")]
    NoAccount(String),
    /// The account cannot go yet.
    #[error("the account `{0}` owns buckets: remove them first")]
    OwnsBuckets(String),
    /// More than there is room for.
    #[error("a {what} of {bytes} bytes; at most {max}")]
    TooLarge {
        /// Of what.
        what: String,
        /// How large it is.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The name of an account that was deleted.
    #[error(
        "`{0}` was the name of an account that was deleted; what that one was allowed, another one of its name would be: take another name"
    )]
    FormerAccount(String),
    /// The device is not away, or not for long enough.
    #[error("{0} is not away for so long that it is given up")]
    NotOver(DeviceId),
    /// A node that cannot be forgotten yet.
    #[error("{node} cannot be removed: {why}")]
    NodeInUse {
        /// Which.
        node: NodeId,
        /// Why, in words.
        why: String,
    },
    /// A node that cannot be replaced, or not now.
    #[error("{node} cannot be replaced: {why}")]
    NotReplaceable {
        /// Which.
        node: NodeId,
        /// Why, in words.
        why: String,
    },
}
