//! Where things lie: pools and placement groups, stripes, and the erasure code. Pure: functions of their arguments, no I/O.

pub mod erasure;
pub mod place;
pub mod stripe;
