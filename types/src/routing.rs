//! From a name to its group. Persisted by use: these functions never change.

use crate::GroupId;
use crate::map::{Catalogue, Pool};

/// The hash of a routing part: XXH3, 64 bits, seed 0.
pub fn routing_hash(routing: &[u8]) -> u64 {
    twox_hash::XxHash3_64::oneshot(routing)
}

/// Group number `i` (below the width) of a catalogue.
pub fn catalogue_group(catalogue: &Catalogue, pool: &Pool, i: u32) -> GroupId {
    debug_assert!(i < catalogue.width && pool.id == catalogue.pool);
    GroupId { pool: catalogue.pool, index: (catalogue.first_group + i) % pool.groups.max(1) }
}

/// The group that a routing part of a catalogue lies in.
pub fn group_of(catalogue: &Catalogue, pool: &Pool, routing: &[u8]) -> GroupId {
    let i = routing_hash(routing) % u64::from(catalogue.width.max(1));
    catalogue_group(catalogue, pool, i as u32)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_routing_hash_never_changes() {
        assert_eq!(super::routing_hash(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(super::routing_hash(b"photos/2026/cat.jpg"), super::routing_hash(b"photos/2026/cat.jpg"));
    }
}
