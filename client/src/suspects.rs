//! Nodes that were late or broken a moment ago, and that HA may not have judged yet: asked last for a while.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;
use types::NodeId;

/// How long a node is avoided: HA sees a hung one within 1.5 s and the map says so soon after.
const SUSPICION: Duration = Duration::from_secs(3);

/// Who is suspected, until when.
#[derive(Debug, Default)]
pub(crate) struct Suspects(Mutex<BTreeMap<NodeId, Instant>>);

impl Suspects {
    /// The node was late or did not answer.
    pub(crate) fn suspect(&self, node: NodeId) {
        self.lock().insert(node, Instant::now() + SUSPICION);
    }

    /// Whether the node is better asked last.
    pub(crate) fn is_suspected(&self, node: NodeId) -> bool {
        self.until(node).is_some()
    }

    /// Until when the node is suspected: the later, the fresher the reason.
    pub(crate) fn until(&self, node: NodeId) -> Option<Instant> {
        let mut suspects = self.lock();
        let until = *suspects.get(&node)?;
        if until <= Instant::now() {
            suspects.remove(&node);
            return None;
        }
        Some(until)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, Instant>> {
        self.0.lock().expect("nobody panics with this lock held")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn suspicion_ends_by_itself() {
        let suspects = Suspects::default();
        suspects.suspect(NodeId(2));
        assert!(suspects.is_suspected(NodeId(2)) && !suspects.is_suspected(NodeId(1)));
        tokio::time::advance(SUSPICION).await;
        assert!(!suspects.is_suspected(NodeId(2)));
    }
}
