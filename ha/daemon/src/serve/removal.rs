//! Whether a cluster can do without a node.

use ha_state::State;
use layout::place::{Wish, place};
use types::NodeId;
use types::state::DeviceState;

/// Why the node cannot be removed, if so: some group would have no place left for what it has there.
pub fn refusal(state: &State, node: NodeId) -> Option<String> {
    let map = state.map();
    let name = &map.nodes.get(&node)?.name;
    let mut without = map.clone();
    for device in without.devices.values_mut().filter(|d| d.node == node || state.leaving().contains(&d.id)) {
        device.state = DeviceState::Failed;
    }
    for spec in state.topology().map(|t| t.pools.as_slice()).unwrap_or_default() {
        let Some(pool) = map.pools.get(&spec.id).filter(|pool| pool.groups > 0) else { continue };
        let wish = Wish { groups: 0, avoid_node: spec.avoid_node, grow: false };
        let problem = match place(&without, pool.id, wish) {
            Ok(groups) => match groups.iter().flatten().filter(|slot| slot.is_none()).count() {
                0 => continue,
                empty => format!("{empty} places of its groups would be empty"),
            },
            Err(error) => error.to_string(),
        };
        return Some(format!("pool `{}` ({}) cannot do without {name}: {problem}; add a node first", pool.name, pool.scheme));
    }
    None
}
