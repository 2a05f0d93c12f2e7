//! `Usage`: how full the devices of this process are.

use net::Incoming;
use types::load::NodeLoad;
use types::wire::request::DeviceUsage;

use super::{LocalDevice, Node, answer};

/// Answers at once.
pub fn serve(node: &Node, incoming: Incoming) {
    answer(incoming, &Ok(node.usage()));
}

impl Node {
    /// What HA is told of it with each renewal of its lease.
    pub fn load(&self) -> NodeLoad {
        NodeLoad { devices: self.usage(), ..self.requests.load() }
    }

    /// How full its devices are.
    pub fn usage(&self) -> Vec<DeviceUsage> {
        let mut usage: Vec<DeviceUsage> = self.devices.iter().map(|(id, device)| usage_of(device, self.permits.unfinished(*id))).collect();
        usage.sort_by_key(|usage| usage.device);
        usage
    }
}

fn usage_of(device: &LocalDevice, unfinished: u64) -> DeviceUsage {
    let scrub = device.scrub.lock().expect("nobody panics with the lock").clone();
    let rebuild = device.rebuild.lock().expect("nobody panics with the lock").clone();
    DeviceUsage { scrub, rebuild, unfinished, ..device.store.usage() }
}
