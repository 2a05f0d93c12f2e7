//! The fault points of the storage process ([`service::points`]): the steps between which a crash leaves something half done.

use service::points::{Injected, Point};
use types::keys::kind;
use types::ops::Op;
use types::wire::dtm::{Envelope, Message};

macro_rules! points {
    ($($name:ident: $point:expr;)+) => {
        $(pub(crate) static $name: Point = $point;)+
        /// All of them, by what they are a step of.
        pub static POINTS: &[&Point] = &[$(&$name),+];
    };
}

points! {
    // A put.
    PUT_BEFORE_PENDING: Point::failing("put-before-pending", "A fid is to be pending; its primary has not begun.");
    UNIT_BEFORE_WRITE: Point::failing("unit-before-write", "A unit has come; it is not on its device.");
    UNIT_DURABLE: Point::failing("unit-durable", "A unit is durable; its writer does not know.");
    PUT_BEFORE_RECORD: Point::failing("put-before-record", "All units of an object are durable; the primary of its record has not begun.");
    // A batch of a device's metadata.
    BATCH_BEFORE_SYNC: Point::failing("batch-before-sync", "A batch is to be written and synced; an error is one of the device.");
    BATCH_SYNCED: Point::new("batch-synced", "A batch is synced; nobody was told.");
    REDO_BEFORE_SEND: Point::failing("redo-before-send", "A primary has new records for others; an error loses the messages.");
    // A change of view.
    VIEW_BEFORE_SAVE: Point::new("view-before-save", "A replica is to save its state, a promise or the log that it takes up, and has not.");
    VIEW_SAVED: Point::new("view-saved", "A replica's state is durable; nobody was told.");
    ACTIVE_BEFORE_REPORT: Point::new("active-before-report", "A view is active; HA does not know.");
    // A full copy.
    COPY_BEFORE_SEND: Point::new("copy-before-send", "A piece of a full copy was read, and is not sent.");
    COPY_BEFORE_FILL: Point::new("copy-before-fill", "A piece of a full copy has come; it is not on the device.");
    COPY_FILLED: Point::new("copy-filled", "A piece of a full copy is on the device; its sender does not know.");
    // The re-creation of units.
    REBUILD_GATHERED: Point::failing("rebuild-gathered", "A unit is rebuilt; it is not on its device.");
    REBUILD_WRITTEN: Point::new("rebuild-written", "A rebuilt unit is durable; its slot is not filled.");
    SLOT_BEFORE_REPORT: Point::new("slot-before-report", "A slot has all its units; HA does not know.");
    // A delete, and what the sweep drops.
    DELETE_BEFORE_RECORD: Point::failing("delete-before-record", "An object is to be deleted; its primary has not begun.");
    SWEEP_BEFORE_ABANDON: Point::new("sweep-before-abandon", "A pending fid of a closed session is to be dead, and is not.");
    SWEEP_BEFORE_DELETE: Point::new("sweep-before-delete", "Dead fids are old enough; no device was asked to delete them.");
    UNITS_DELETED: Point::failing("units-deleted", "Units of dead fids are deleted from a device; who asked does not know.");
    SWEEP_BEFORE_SETTLE: Point::new("sweep-before-settle", "All devices have deleted dead fids; their rows are there still.");
}

/// Passes the points that come before a client's transaction.
pub(crate) fn before(ops: &[Op]) -> Result<(), Injected> {
    for op in ops {
        match op {
            Op::Put { row, .. } if row.key.first() == Some(&kind::PENDING) => PUT_BEFORE_PENDING.pass()?,
            Op::PutObject { pending, .. } if !pending.is_empty() => PUT_BEFORE_RECORD.pass()?,
            Op::DeleteObject { .. } => DELETE_BEFORE_RECORD.pass()?,
            _ => {}
        }
    }
    Ok(())
}

/// Passes the point before what is sent, once for each message with new records; those that fail are lost.
pub(crate) fn before_send(out: &mut Vec<Envelope>) {
    out.retain(|envelope| {
        let has_records = matches!(&envelope.message, Message::Redo { records, .. } if !records.is_empty());
        !has_records || REDO_BEFORE_SEND.pass().is_ok()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_point_has_a_name_of_its_own_and_says_what_it_is() {
        let names: std::collections::BTreeSet<&str> = POINTS.iter().map(|point| point.name).collect();
        assert_eq!(names.len(), POINTS.len());
        for point in POINTS {
            assert!(point.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') && point.about.ends_with('.'), "{point:?}");
        }
    }
}
