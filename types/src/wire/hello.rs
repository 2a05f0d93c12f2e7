//! The first message of both sides of a link: who speaks, in which versions, and (later) proof of it.
//!
//! The connecting side says HELLO first; the other answers with its own HELLO or with a [`Refuse`] and closes.

use serde::{Deserialize, Serialize};

use crate::{Boot, ClusterId, NodeId};

/// Oldest protocol version that is spoken here.
pub const PROTOCOL_VERSION_MIN: u16 = 1;
/// Newest protocol version that is spoken here.
pub const PROTOCOL_VERSION_MAX: u16 = 1;
/// Most receive slots that a side may announce.
pub const RECEIVE_SLOTS_MAX: u16 = 1024;
/// Longest proof of identity.
pub const PROOF_BYTES_MAX: usize = 256;

/// What a link is for. A side opens one of each to a peer that it calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LinkRole {
    /// Requests without lent memory, and posts.
    Control,
    /// Requests that lend memory: it may be closed to take the memory back.
    Bulk,
}

/// Who speaks, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Oldest protocol version that the sender speaks.
    pub version_min: u16,
    /// Newest one.
    pub version_max: u16,
    /// Optional abilities, a bit each; both sides use only what both have. None are defined yet.
    pub features: u64,
    /// The sender's cluster.
    pub cluster: ClusterId,
    /// The sender's node; zero for a client.
    pub node: NodeId,
    /// HA's number for this start of the sender; zero for a client, or before HA gave one.
    pub boot: Boot,
    /// Drawn at random when the sender's endpoint started: tells two starts apart at one address, whatever HA said.
    pub instance: u64,
    /// Drawn at random for this HELLO, for the proofs.
    pub nonce: u64,
    /// What the link is for.
    pub role: LinkRole,
    /// Receive slots that the sender has posted: the credits of the receiver.
    pub slots: u16,
    /// How the sender proves who it is: 0 is not at all.
    pub proof_kind: u8,
    /// The proof, at most [`PROOF_BYTES_MAX`] long.
    #[serde(with = "crate::codec::bytes")]
    pub proof: Vec<u8>,
}

impl Hello {
    /// The version that both sides speak, or why they cannot speak at all.
    pub fn agree(&self, cluster: ClusterId) -> Result<u16, RefuseReason> {
        if self.cluster != cluster {
            return Err(RefuseReason::Cluster);
        }
        let version = self.version_max.min(PROTOCOL_VERSION_MAX);
        if version < self.version_min.max(PROTOCOL_VERSION_MIN) {
            return Err(RefuseReason::Version);
        }
        if self.slots == 0 || self.slots > RECEIVE_SLOTS_MAX || self.proof.len() > PROOF_BYTES_MAX {
            return Err(RefuseReason::Malformed);
        }
        if self.proof_kind != 0 {
            return Err(RefuseReason::Proof);
        }
        Ok(version)
    }
}

/// A HELLO is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refuse {
    /// Why.
    pub reason: RefuseReason,
}

/// Why a HELLO is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum RefuseReason {
    /// Of another cluster.
    #[error("it belongs to another cluster")]
    Cluster,
    /// No protocol version in common.
    #[error("there is no protocol version in common")]
    Version,
    /// The proof is missing, of an unknown kind or wrong.
    #[error("its proof of identity is not accepted")]
    Proof,
    /// Fields out of bounds, or not a HELLO at all.
    #[error("its HELLO is malformed")]
    Malformed,
    /// No room for another link.
    #[error("there are too many links")]
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    fn hello() -> Hello {
        Hello {
            version_min: 1,
            version_max: 1,
            features: 0,
            cluster: ClusterId(7),
            node: NodeId(3),
            boot: Boot(9),
            instance: 1,
            nonce: 2,
            role: LinkRole::Bulk,
            slots: 64,
            proof_kind: 0,
            proof: Vec::new(),
        }
    }

    #[test]
    fn the_bytes_of_a_hello_are_the_golden_ones() {
        assert_eq!(codec::encode(&hello()), [1, 1, 0, 7, 3, 9, 1, 2, 1, 64, 0, 0]);
        assert_eq!(codec::decode::<Hello>(&codec::encode(&hello())), Ok(hello()));
    }

    #[test]
    fn a_stranger_is_refused_with_the_reason() {
        assert_eq!(hello().agree(ClusterId(7)), Ok(1));
        assert_eq!(hello().agree(ClusterId(8)), Err(RefuseReason::Cluster));
        assert_eq!(Hello { version_min: 2, version_max: 3, ..hello() }.agree(ClusterId(7)), Err(RefuseReason::Version));
        assert_eq!(Hello { slots: 0, ..hello() }.agree(ClusterId(7)), Err(RefuseReason::Malformed));
        assert_eq!(Hello { proof_kind: 1, ..hello() }.agree(ClusterId(7)), Err(RefuseReason::Proof));
    }

    #[test]
    fn a_newer_peer_that_still_speaks_our_version_is_accepted() {
        assert_eq!(Hello { version_max: 9, ..hello() }.agree(ClusterId(7)), Ok(1));
    }
}
