//! The worlds that are searched in CI, and for each rule the world in which its removal shows.

use super::state::World;

/// Worlds that are exhausted.
pub const EXHAUSTED: &[World] = &[World { name: "1 op, 1 view", operations: 1, views: 1, ..World::CALM }];
