//! HA in the model: which views it has issued, whom it knows in which boot, and whose lease may still be running.

use std::collections::BTreeMap;
use std::sync::Arc;

use dtm::{Peer, Placement};
use types::state::DeviceState;
use types::{Boot, DeviceId, Epoch, Incarnation, ViewNumber};

/// What HA knows of one device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Boot of its process.
    pub boot: Boot,
    /// Its format.
    pub incarnation: Incarnation,
    /// The epoch in which the format was registered.
    pub registered: Epoch,
    /// The epoch that announced it RECOVERING, while it is, and how many dtx had been answered then.
    pub recovering: Option<(Epoch, u64)>,
    /// A lease that was granted to it and has not ended.
    pub lease: bool,
    /// It is away, by HA's word.
    pub away: bool,
    /// No log is kept for it.
    pub marked: bool,
}

/// HA.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    /// The epoch.
    pub epoch: Epoch,
    /// The view.
    pub view: ViewNumber,
    /// Its primary.
    pub primary: Option<(usize, Boot)>,
    /// A deposed primary whose lease of before its deposition may still run, and the epoch of that.
    pub fenced: Option<(usize, Boot, Epoch)>,
    /// The members.
    pub members: Vec<usize>,
    /// Members of the view's `old`: those of the last view recorded active when it was issued.
    pub old: Vec<usize>,
    /// Members to be.
    pub learners: Vec<usize>,
    /// Whether a view with the present members was recorded active.
    pub settled: bool,
    /// Every device.
    pub devices: Vec<Member>,
    /// Everything it ever said of the group, oldest first.
    pub said: Vec<Arc<Placement>>,
}

/// The device of a replica's number.
pub fn device(number: usize) -> DeviceId {
    DeviceId(number as u32 + 1)
}

/// The epoch that created group and devices.
pub const CREATED: Epoch = Epoch(1);

impl Authority {
    /// The first view, with replica 0 as the primary.
    pub fn new(devices: usize, members: usize) -> Self {
        let member = || Member {
            boot: Boot(1),
            incarnation: Incarnation(1),
            registered: CREATED,
            recovering: None,
            lease: true,
            away: false,
            marked: false,
        };
        let members: Vec<usize> = (0..members).collect();
        let mut new = Self {
            epoch: Epoch(2),
            view: ViewNumber(2),
            primary: Some((0, Boot(1))),
            fenced: None,
            old: members.clone(),
            learners: (members.len()..devices).collect(),
            members,
            settled: true,
            devices: (0..devices).map(|_| member()).collect(),
            said: Vec::new(),
        };
        new.say();
        new
    }

    /// The next epoch.
    pub fn raise(&mut self) -> Epoch {
        self.epoch = self.epoch.next();
        self.epoch
    }

    /// Makes what it thinks known.
    pub fn say(&mut self) {
        let of = |set: &[usize]| set.iter().map(|n| device(*n)).collect();
        let state = |m: &Member| match (m.away, m.recovering) {
            (true, _) => DeviceState::Transient,
            (_, Some(_)) => DeviceState::Recovering,
            _ => DeviceState::Online,
        };
        let peer = |m: &Member| Peer {
            state: state(m),
            boot: m.boot,
            incarnation: m.incarnation,
            recovering: m.recovering.map(|(epoch, _)| epoch),
            copy: m.marked,
        };
        let named = |n: &usize| self.members.contains(n) || self.old.contains(n) || self.learners.contains(n);
        let peers: BTreeMap<DeviceId, Peer> = (0..self.devices.len()).filter(named).map(|n| (device(n), peer(&self.devices[n]))).collect();
        self.said.push(Arc::new(Placement {
            epoch: self.epoch,
            number: self.view,
            primary: self.primary.map(|(n, boot)| (device(n), boot)),
            members: of(&self.members),
            old: of(&self.old),
            learners: of(&self.learners),
            peers,
        }));
    }

    /// A view with this primary, or with none.
    pub fn issue(&mut self, primary: Option<usize>) {
        self.view = ViewNumber(self.raise().0);
        self.primary = primary.map(|n| (n, self.devices[n].boot));
        self.say();
    }
}
