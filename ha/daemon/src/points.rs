//! The fault points of the HA daemon ([`service::points`]).

use service::points::Point;

/// A leader is to propose a change, and has not: whoever asked for it does not know what became of it.
pub(crate) static BEFORE_PROPOSE: Point = Point::failing("ha-before-propose", "A leader is to propose a change, and has not.");
/// An entry is agreed on, and not applied.
pub(crate) static BEFORE_APPLY: Point = Point::new("ha-before-apply", "Entries are agreed on; they are not applied here.");
/// An entry is applied, and nobody was told.
pub(crate) static APPLIED: Point = Point::new("ha-applied", "Entries are applied here; nobody was told.");

/// All of them.
pub static POINTS: &[&Point] = &[&BEFORE_PROPOSE, &BEFORE_APPLY, &APPLIED];
