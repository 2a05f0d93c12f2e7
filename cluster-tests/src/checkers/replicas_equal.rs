//! Replicas equal: once all have applied the same, their rows are the same, byte for byte.

use std::collections::BTreeMap;

use types::record::{Row, RowKey};
use types::{DeviceId, Seq};

/// Whether all replicas have applied up to the same seq and hold the same rows.
pub fn check(replicas: &BTreeMap<DeviceId, (Seq, &BTreeMap<RowKey, Row>)>) -> Result<(), String> {
    let mut replicas = replicas.iter();
    let Some((first, (applied, rows))) = replicas.next() else { return Ok(()) };
    for (device, (other_applied, other_rows)) in replicas {
        if applied != other_applied {
            return Err(format!("replicas equal: {first} has applied {applied}, {device} {other_applied}"));
        }
        if let Some(key) = rows.keys().chain(other_rows.keys()).find(|key| rows.get(key) != other_rows.get(key)) {
            let (here, there) = (rows.get(key), other_rows.get(key));
            return Err(format!("replicas equal: at {applied}, {first} has {here:?} for {key:?} and {device} {there:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::CatalogueId;

    #[test]
    fn a_row_that_only_one_replica_has_is_found() {
        let key = RowKey { catalogue: CatalogueId(1), key: vec![1] };
        let full = BTreeMap::from([(key, Row { version: Seq(1), value: vec![1] })]);
        let empty = BTreeMap::new();
        let same = BTreeMap::from([(DeviceId(1), (Seq(1), &full)), (DeviceId(2), (Seq(1), &full))]);
        assert_eq!(check(&same), Ok(()));
        let different = BTreeMap::from([(DeviceId(1), (Seq(1), &full)), (DeviceId(2), (Seq(1), &empty))]);
        assert!(check(&different).is_err());
        let behind = BTreeMap::from([(DeviceId(1), (Seq(1), &full)), (DeviceId(2), (Seq(0), &full))]);
        assert!(check(&behind).is_err());
    }
}
