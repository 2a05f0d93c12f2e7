//! `Usage`: how full the devices of this process are.

use net::Incoming;
use types::wire::request::DeviceUsage;

use super::{Node, answer};

/// Answers at once.
pub fn serve(node: &Node, incoming: Incoming) {
    let mut usage: Vec<DeviceUsage> = node.devices.values().map(|device| device.store.usage()).collect();
    usage.sort_by_key(|usage| usage.device);
    answer(incoming, &Ok(usage));
}
