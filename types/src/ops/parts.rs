//! Bounds of a transaction with parts in other groups.

use crate::limits::{DTX_BYTES_MAX, DTX_OPS_MAX, INLINE_BYTES_MAX};
use crate::record::{Write, writes_bytes};
use crate::{GroupId, codec};

use super::{Op, OpsError, validate};

/// Checks the bounds of a transaction: what it does in the group that decides it, and in each other.
pub fn validate_with(ops: &[Op], parts: &[(GroupId, Vec<Write>)]) -> Result<(), OpsError> {
    validate(ops)?;
    if parts.is_empty() {
        return Ok(());
    }
    let count = ops.len() + parts.iter().map(|(_, writes)| writes.len()).sum::<usize>();
    if count > DTX_OPS_MAX {
        return Err(OpsError::Count(count));
    }
    let mut groups: Vec<GroupId> = parts.iter().map(|(group, _)| *group).collect();
    groups.sort_unstable();
    groups.dedup();
    if groups.len() < parts.len() || parts.iter().any(|(_, writes)| writes.is_empty()) {
        return Err(OpsError::Parts);
    }
    let bytes = codec::encode(&ops).len() + parts.iter().map(|(_, writes)| writes_bytes(writes)).sum::<usize>();
    if bytes > DTX_BYTES_MAX + INLINE_BYTES_MAX { Err(OpsError::Bytes(bytes)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RowKey;
    use crate::{CatalogueId, PoolId};

    fn group(index: u32) -> GroupId {
        GroupId { pool: PoolId(1), index }
    }

    fn write(bytes: usize) -> Write {
        Write::Put { row: RowKey { catalogue: CatalogueId(1), key: vec![1, 2] }, value: vec![0; bytes] }
    }

    fn ops(count: usize) -> Vec<Op> {
        vec![Op::Delete { row: RowKey { catalogue: CatalogueId(1), key: vec![1] }, condition: Default::default() }; count]
    }

    #[test]
    fn parts_count_in_the_bounds_of_the_whole() {
        assert_eq!(validate_with(&ops(1), &[(group(1), vec![write(1)])]), Ok(()));
        let many = vec![write(1); DTX_OPS_MAX];
        assert_eq!(validate_with(&ops(1), &[(group(1), many)]), Err(OpsError::Count(DTX_OPS_MAX + 1)));
        let large = |index| (group(index), vec![write(DTX_BYTES_MAX / 2 + INLINE_BYTES_MAX / 2)]);
        assert!(matches!(validate_with(&ops(1), &[large(1), large(2)]), Err(OpsError::Bytes(_))));
    }

    #[test]
    fn a_group_has_one_part_and_it_does_something() {
        let twice = [(group(1), vec![write(1)]), (group(1), vec![write(1)])];
        assert_eq!(validate_with(&ops(1), &twice), Err(OpsError::Parts));
        assert_eq!(validate_with(&ops(1), &[(group(1), Vec::new())]), Err(OpsError::Parts));
        assert_eq!(validate_with(&[], &[(group(1), vec![write(1)])]), Err(OpsError::Count(0)));
    }
}
