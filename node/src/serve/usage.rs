//! `Usage`: how full the devices of this process are.

use net::Incoming;
use types::wire::request::DeviceUsage;

use super::{Node, answer};

/// Answers at once.
pub fn serve(node: &Node, incoming: Incoming) {
    answer(incoming, &Ok(node.usage()));
}

impl Node {
    /// How full its devices are.
    pub fn usage(&self) -> Vec<DeviceUsage> {
        let mut usage: Vec<DeviceUsage> = self.devices.values().map(|device| device.store.usage()).collect();
        usage.sort_by_key(|usage| usage.device);
        usage
    }
}
