//! Checkers: each looks at what a run did and says whether it was right. One file a property; none knows how the system works.

pub mod durability;
pub mod history;
pub mod one_history;
pub mod replicas_equal;
pub mod wgl;
pub mod zone;
