//! What this process knows of the cluster: HA's state as of one entry of its log, made by applying every entry in order.
//!
//! [`Folder`] applies; [`ClusterView`] is what everybody else reads: an immutable value, published whole. What it does not say is left to
//! HA itself. Who follows the log over the wire is [`crate::follow`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ha_state::state::{Dropped, Unfilled};
use ha_state::{Change, Command, State};
use s3::Notifications;
use tokio::sync::watch;
use types::event::Cause;
use types::map::{CatalogueKind, ClusterMap, Group, GroupView, Slots};
use types::object::Versioning;
use types::ops::Op;
use types::records::{Account, Bucket, RecordChange, Records};
use types::state::ProcessState;
use types::{Boot, CatalogueId, DeviceId, Epoch, GroupId, NodeId, SessionId};

/// The cluster as of entry `index` of HA's log.
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    /// The last entry taken in. The map's own index may be older: it is made anew only when it changes.
    pub index: u64,
    /// The cluster map.
    pub map: Arc<ClusterMap>,
    /// Open sessions of writers.
    pub sessions: Arc<BTreeSet<SessionId>>,
    /// Processes that are RECOVERING: boot, and the epoch that announced it.
    pub recovering: Arc<Vec<Announced>>,
    /// Devices that hold less than their groups: no log waits for them while they are away.
    pub partial: Arc<BTreeSet<DeviceId>>,
    /// Devices that an operator wants scrubbed, with the entry of HA's log that last said so.
    pub scrubs: Arc<BTreeMap<DeviceId, u64>>,
    /// Slots that lack units, each with a device that has them still, where there is one.
    pub unfilled: Arc<BTreeMap<GroupId, Unfilled>>,
    /// Whether nothing is to be rebuilt for now.
    pub repair_paused: bool,
    /// Catalogues that were dropped and may not be empty yet.
    pub dropped: Arc<BTreeMap<CatalogueId, Dropped>>,
    /// Buckets' settings and accounts, as gateways read them.
    pub records: Arc<Records>,
    /// Buckets that keep versions, or did.
    pub versioned: Arc<BTreeMap<CatalogueId, Versioning>>,
    /// Buckets whose events somebody wants to be told of.
    pub notifying: Arc<BTreeMap<CatalogueId, Notifications>>,
    /// Buckets whose removal is being decided: nothing is written into them.
    pub sealed: Arc<BTreeSet<CatalogueId>>,
    /// Groups whose `End` this process needs before it is recovered, while it is RECOVERING.
    pub to_recover: Arc<Vec<GroupId>>,
}

/// A process that was announced RECOVERING.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Of which node.
    pub node: NodeId,
    /// Which start.
    pub boot: Boot,
    /// In which epoch.
    pub epoch: Epoch,
}

/// Whether a writer's session may still write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// It may.
    Open,
    /// Never again.
    Closed,
    /// It is younger than what we know: take in the log up to there first.
    Ahead,
}

impl ClusterView {
    /// Whether the catalogue was dropped: nothing is written into it or read from it any more.
    pub fn is_gone(&self, catalogue: CatalogueId) -> bool {
        // Its id is the entry that made it.
        self.index >= catalogue.0 && !self.map.catalogues.contains_key(&catalogue)
    }

    /// What a catalogue does with versions.
    pub fn versioning(&self, catalogue: CatalogueId) -> Versioning {
        self.versioned.get(&catalogue).copied().unwrap_or_default()
    }

    /// What is to be kept of operations that were asked for so, to be told: an operation more for each that somebody wants to know of.
    pub fn notices(&self, ops: &[Op], cause: Cause, at_ms: u64) -> Vec<Op> {
        if self.notifying.is_empty() {
            return Vec::new();
        }
        let of = |(number, op): (u16, &Op)| {
            let (catalogue, name, happening) = op.happening(cause)?;
            let notifications = self.notifying.get(&catalogue)?;
            let wishes = notifications.wishes(happening, name);
            let (name, bucket) = (name.to_vec(), notifications.bucket.clone());
            (!wishes.is_empty()).then_some(Op::Notify { catalogue, name, of: number, happening, bucket, at_ms, wishes })
        };
        (0..).zip(ops).filter_map(of).collect()
    }

    /// Of a session, as far as we know.
    pub fn session(&self, session: SessionId) -> SessionState {
        if self.sessions.contains(&session) {
            SessionState::Open
        } else if session.0 > self.index {
            SessionState::Ahead
        } else {
            SessionState::Closed
        }
    }

    /// Views of the replicated groups that have a replica on the device.
    pub fn replicas_on(&self, device: DeviceId) -> impl Iterator<Item = (GroupId, &GroupView)> {
        self.map.groups.iter().filter_map(move |(id, group)| match group {
            Group::Replicated(view) if view.members.iter().chain(&view.learners).any(|d| *d == device) => Some((*id, view)),
            _ => None,
        })
    }

    /// Erasure-coded groups that have a slot on the device.
    pub fn slots_on(&self, device: DeviceId) -> impl Iterator<Item = (GroupId, &Slots)> {
        self.map.groups.iter().filter_map(move |(id, group)| match group {
            Group::Erasure(slots) if slots.slots.contains(&Some(device)) => Some((*id, slots)),
            _ => None,
        })
    }

    /// Whether a slot of the group on that device lacks units.
    pub fn is_filling(&self, group: GroupId, device: DeviceId) -> bool {
        let (Some(lacking), Some(slots)) = (self.unfilled.get(&group), self.map.slots(group)) else { return false };
        lacking.keys().any(|slot| slots.slots.get(usize::from(*slot)) == Some(&Some(device)))
    }

    /// The announcement of a device's process, while it is RECOVERING.
    pub fn announced(&self, device: DeviceId) -> Option<Announced> {
        let node = self.map.devices.get(&device)?.node;
        self.recovering.iter().copied().find(|a| a.node == node)
    }
}

/// Where the newest view lies for everybody to read.
#[derive(Debug)]
pub struct Views {
    cell: watch::Sender<Arc<ClusterView>>,
}

impl Default for Views {
    fn default() -> Self {
        Self { cell: watch::Sender::new(Arc::default()) }
    }
}

impl Views {
    /// The newest view.
    pub fn now(&self) -> Arc<ClusterView> {
        self.cell.borrow().clone()
    }

    /// Puts a newer view in the place of the old one.
    pub fn publish(&self, view: ClusterView) {
        self.cell.send_replace(Arc::new(view));
    }

    /// Told of every newer view; may miss those between.
    pub fn subscribe(&self) -> watch::Receiver<Arc<ClusterView>> {
        self.cell.subscribe()
    }
}

/// Applies HA's log for one process.
#[derive(Debug)]
pub struct Folder {
    me: NodeId,
    state: State,
    view: ClusterView,
}

impl Folder {
    /// Begins with a snapshot.
    pub fn new(me: NodeId, state: State) -> Self {
        let mut folder = Self { me, state, view: ClusterView::default() };
        folder.refresh_map();
        folder.refresh_sessions();
        folder.refresh_records();
        folder.refresh_scrubs();
        folder
    }

    /// Takes one entry in; `None` is an entry without a command. Entries that are not after the last one change nothing.
    pub fn apply(&mut self, index: u64, command: Option<&Command>) {
        let Some(command) = command else {
            self.state.pass(index);
            self.view.index = self.state.index();
            return;
        };
        let epoch = self.state.epoch();
        // The verdict is the same everywhere; whoever proposed the command is told of it by HA.
        let _verdict = self.state.apply(index, command);
        self.view.index = self.state.index();
        // These change the map without moving the epoch. A report of activity that did not show here would be made for ever.
        let beside = matches!(
            command.change,
            Change::CreateCatalogue { .. }
                | Change::DropCatalogue { .. }
                | Change::CataloguesEmptied { .. }
                | Change::Active { .. }
                | Change::Record(RecordChange::CreateBucket { .. } | RecordChange::RemoveBucket { .. })
        );
        if self.state.epoch() != epoch || beside {
            self.refresh_map();
        }
        let sessions = matches!(command.change, Change::OpenSession { .. } | Change::CloseSession { .. });
        if matches!(command.change, Change::AskDevice { .. }) {
            self.refresh_scrubs();
        }
        if self.state.epoch() != epoch || sessions {
            self.refresh_sessions();
        }
        // The first groups bring the first bucket with them.
        let records = matches!(
            command.change,
            Change::Record(_) | Change::CreateCatalogue { .. } | Change::DropCatalogue { .. } | Change::CreateGroups { .. }
        );
        if records {
            self.refresh_records();
        }
    }

    /// The view as of the last entry.
    pub fn view(&self) -> ClusterView {
        self.view.clone()
    }

    fn refresh_map(&mut self) {
        let map = self.state.map();
        self.view.index = map.index;
        self.view.map = Arc::new(map.clone());
        let recovering = map.nodes.values().filter(|node| node.state == ProcessState::Recovering).filter_map(|node| {
            let process = self.state.process(node.id)?;
            Some(Announced { node: node.id, boot: node.boot, epoch: process.announced })
        });
        self.view.recovering = Arc::new(recovering.collect());
        let is_partial = |id: &DeviceId| self.state.device(*id).is_some_and(|extra| extra.blank);
        self.view.partial = Arc::new(map.devices.keys().copied().filter(is_partial).collect());
        if *self.view.unfilled != *self.state.unfilled() {
            self.view.unfilled = Arc::new(self.state.unfilled().clone());
        }
        self.view.repair_paused = self.state.repair_is_paused();
        if *self.view.dropped != *self.state.dropped() {
            self.view.dropped = Arc::new(self.state.dropped().clone());
        }
        self.view.to_recover = Arc::new(self.state.groups_to_recover(self.me));
    }

    /// What did not change is shared with the records before.
    fn refresh_records(&mut self) {
        let (state, before) = (&self.state, &self.view.records);
        let named = |id: &CatalogueId| state.map().catalogues.get(id).filter(|c| c.kind == CatalogueKind::Bucket).map(|c| c.name.clone());
        let bucket = |(id, bucket): (&CatalogueId, &Bucket)| {
            let name = named(id)?;
            let known = before.buckets.get(&name).filter(|known| ***known == *bucket).cloned();
            Some((name, known.unwrap_or_else(|| Arc::new(bucket.clone()))))
        };
        let account = |(name, account): (&String, &Account)| {
            let known = before.accounts.get(name).filter(|known| ***known == *account).cloned();
            (name.clone(), known.unwrap_or_else(|| Arc::new(account.clone())))
        };
        let accounts: BTreeMap<String, Arc<Account>> = state.accounts().iter().map(account).collect();
        let keys = accounts.values().flat_map(|account| account.keys.keys().map(|key| (key.clone(), account.clone()))).collect();
        let buckets = state.buckets().iter().filter_map(bucket).collect();
        let sealed = state.buckets().values().filter(|bucket| bucket.seal.is_some()).map(|bucket| bucket.id).collect();
        let (quotas, targets) = (state.quotas().clone(), state.targets().clone());
        let records = Records { buckets, accounts, keys, quotas, targets };
        let notifying = |(name, bucket): (&String, &Arc<Bucket>)| Some((bucket.id, Notifications::of(name, bucket, &records.targets)?));
        self.view.notifying = Arc::new(records.buckets.iter().filter_map(notifying).collect());
        self.view.records = Arc::new(records);
        self.view.sealed = Arc::new(sealed);
        let versioned = state.buckets().values().map(|bucket| (bucket.id, bucket.versioning()));
        self.view.versioned = Arc::new(versioned.filter(|(_, versioning)| *versioning != Versioning::Off).collect());
    }

    fn refresh_scrubs(&mut self) {
        self.view.scrubs = Arc::new(self.state.scrubs().clone());
    }

    fn refresh_sessions(&mut self) {
        self.view.sessions = Arc::new(self.state.sessions().keys().copied().collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ha_state::{NodeSpec, Topology};
    use types::{ClusterId, HaTime};

    fn command(change: Change) -> Command {
        Command { epoch: Epoch(0), at: HaTime(1), wall_ms: 0, change }
    }

    fn topology() -> Topology {
        let node = NodeSpec {
            id: NodeId(1),
            name: "node-1".into(),
            storage_set: 1,
            rack: 1,
            ha_address: "127.0.0.1:1".into(),
            fabric_address: "127.0.0.1:2".into(),
            voter: true,
        };
        Topology { cluster: ClusterId(5), nodes: vec![node], devices: Vec::new(), pools: Vec::new() }
    }

    #[test]
    fn a_view_follows_the_log_and_keeps_what_did_not_change() {
        let mut folder = Folder::new(NodeId(1), State::new());
        folder.apply(1, Some(&command(Change::Bootstrap(topology()))));
        let first = folder.view();
        assert_eq!((first.index, first.map.cluster), (1, ClusterId(5)));
        folder.apply(2, None);
        folder.apply(3, Some(&command(Change::OpenSession { nonce: 1, name: "c".into() })));
        let second = folder.view();
        assert!(Arc::ptr_eq(&first.map, &second.map), "nothing in the map changed");
        assert_eq!(second.session(SessionId(3)), SessionState::Open);
        assert_eq!(second.session(SessionId(2)), SessionState::Closed);
        assert_eq!(second.session(SessionId(4)), SessionState::Ahead);
        folder.apply(4, Some(&command(Change::CloseSession { session: SessionId(3) })));
        assert_eq!(folder.view().session(SessionId(3)), SessionState::Closed);
    }

    #[test]
    fn a_process_is_recovering_from_its_registration_to_its_report() {
        let mut folder = Folder::new(NodeId(1), State::new());
        folder.apply(1, Some(&command(Change::Bootstrap(topology()))));
        folder.apply(2, Some(&command(Change::RegisterProcess { node: NodeId(1), pid: 1, nonce: 1, devices: Vec::new() })));
        let announced = Announced { node: NodeId(1), boot: Boot(2), epoch: Epoch(2) };
        assert_eq!(*folder.view().recovering, [announced]);
        assert_eq!(folder.view().session(SessionId(2)), SessionState::Open);
        folder.apply(3, Some(&command(Change::Recovered { boot: Boot(2), epoch: Epoch(2) })));
        assert!(folder.view().recovering.is_empty());
    }
}
