//! What serves in a simulated process: the product's node with its drivers, put together as `node/boot` does it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use ha_state::Registered;
use node::driver::{Caller, Clock, Driver, Hand, Place, Surroundings};
use node::fences::Fences;
use node::lease::Lease;
use node::peers::Peers;
use node::serve::{LocalDevice, Node};
use node::view::{SessionState, Views};
use storage::{Device, OpenOptions};
use types::wire::request::{ExecuteReply, Refusal};
use types::{DeviceId, Epoch, Incarnation};

use super::settings::{CLUSTER, node_of};
use super::wire::Wire;
use crate::sim::ha::TIMING;
use crate::sim::network::NodeNumber;

/// Bytes of buffers of a process; units are not simulated.
const POOL_BYTES: usize = 1024 * 1024;

/// The answers that drivers gave: to whom, for which call.
pub type Answers = Arc<Mutex<Vec<(NodeNumber, u64, ExecuteReply)>>>;

/// A client that waits for the answer to a call.
pub struct Waiting {
    /// Which.
    pub client: NodeNumber,
    /// Which call.
    pub call: u64,
    /// Where answers are put.
    pub answers: Answers,
}

impl Caller for Waiting {
    fn answer(self: Box<Self>, reply: ExecuteReply) {
        self.answers.lock().expect("nobody panics with the lock").push((self.client, self.call, reply));
    }
}

/// A process that serves.
pub struct Serving {
    /// What it is, for those who ask.
    pub node: Arc<Node>,
    /// Its drivers.
    pub drivers: BTreeMap<DeviceId, Driver<Device, Arc<Peers>>>,
    /// Formats of its devices.
    pub incarnations: BTreeMap<DeviceId, Incarnation>,
    /// What it has sent.
    pub wire: Arc<Wire>,
    /// What it has answered.
    pub answers: Answers,
}

impl Serving {
    /// Has every driver look around.
    pub fn ring(&self) {
        self.node.devices.values().for_each(|device| device.inbox.ring());
    }
}

/// What a client is told before there is anything to ask.
pub fn starting() -> Refusal {
    Refusal::Busy("the process is starting".into())
}

/// How a device is opened.
pub fn options(device: DeviceId, views: &Arc<Views>) -> OpenOptions {
    let views = views.clone();
    let mut options = OpenOptions::new(CLUSTER, device);
    options.meta_reserve_bytes = super::world::ROOM_RESERVE;
    options.closed = Arc::new(move |session| views.now().session(session) == SessionState::Closed);
    options
}

/// What a process begins to serve with.
pub struct Starting<'a> {
    /// Its host.
    pub host: u32,
    /// What its registration came to.
    pub registered: &'a Registered,
    /// What its machines are made with.
    pub config: &'a Arc<dtm::Config>,
    /// When all clocks of the run began.
    pub base: Instant,
}

impl Starting<'_> {
    /// Begins to serve with these devices.
    pub fn serve(&self, hand: Arc<Hand>, views: Arc<Views>, in_use: BTreeMap<DeviceId, (Device, Incarnation)>) -> Result<Serving, String> {
        let (me, boot) = (node_of(self.host), self.registered.boot);
        let clock = Clock::moved_by(hand.clone());
        let lease = Lease::begun(TIMING, self.base);
        lease.set_time(self.registered.ha_time, hand.shows());
        let around = Surroundings {
            views: views.clone(),
            fences: Arc::new(Fences::new(in_use.keys().copied())),
            permits: Arc::default(),
            lease: Arc::new(lease),
            rooms: Arc::default(),
            reports: node::report::Reports::default(),
        };
        let wire = Arc::new(Wire::new(POOL_BYTES)?);
        let devices: HashMap<DeviceId, LocalDevice> =
            in_use.iter().map(|(id, (device, _))| (*id, LocalDevice::new(device.clone(), POOL_BYTES, in_use.len()))).collect();
        let local = devices.iter().map(|(id, device)| (*id, device.inbox.clone())).collect();
        let peers = Arc::new(Peers::new(wire.clone(), views.clone(), around.rooms.clone(), local));
        let node = Arc::new(Node {
            me,
            boot,
            views: views.clone(),
            fences: around.fences.clone(),
            permits: around.permits.clone(),
            lease: around.lease.clone(),
            rooms: around.rooms.clone(),
            repairs: node::repair::Repairs::default(),
            devices,
            reports: around.reports.clone(),
            clock: clock.clone(),
            requests: node::metrics::Requests::default(),
            events: node::metrics::EventCounts::default(),
            transport: OnceLock::new(),
        });
        let mut drivers = BTreeMap::new();
        for (id, (device, incarnation)) in &in_use {
            let place = Place { node: me, boot, device: *id, incarnation: *incarnation };
            let registered = views.now().map.devices.get(id).map_or(Epoch(0), |device| device.registered);
            around.fences.raise(*id, &device.meta().views().map_err(|error| format!("{id}: {error}"))?);
            let replicas = node::driver::replicas(device, place, registered, self.config);
            let replicas = replicas.map_err(|error| format!("{id} does not come back: {error}"))?;
            let driver = Driver::new(place, device.clone(), peers.clone(), around.clone(), node.devices[id].inbox.clone(), replicas);
            node.devices[id].inbox.ring();
            drivers.insert(*id, driver.with_clock(clock.clone()).with_config(self.config.clone()));
        }
        let incarnations = in_use.into_iter().map(|(id, (_, incarnation))| (id, incarnation)).collect();
        Ok(Serving { node, drivers, incarnations, wire, answers: Arc::default() })
    }
}
