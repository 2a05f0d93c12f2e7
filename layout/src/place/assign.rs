//! The plan in the making: which storage set each group is in, then which device fills each slot.

use types::map::Pool;
use types::scheme::Scheme;

use super::balance::{Ledger, targets};
use super::site::{Rules, Set, Site, mix};
use super::{AVOID_ONE_IN, Groups, Wish};

/// How far a storage set may be from its share before whole groups move between sets: each costs a whole group's copy.
const SETS_APART: f64 = 0.02;

/// One group of the plan.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// A device a slot, as an index of [`Site::devices`].
    pub(super) slots: Vec<Option<usize>>,
    /// Its storage set, once it has one.
    pub(super) set: Option<usize>,
    /// Nothing of it is placed yet.
    pub(super) new: bool,
}

/// How many first members, or parity units, each node and device has.
struct RoleLoad<'a> {
    site: &'a Site,
    on_node: Vec<u32>,
    on_device: Vec<u32>,
}

impl RoleLoad<'_> {
    fn add(&mut self, device: usize) {
        self.on_node[self.site.devices[device].node] += 1;
        self.on_device[device] += 1;
    }

    fn of(&self, device: usize) -> (u32, u32) {
        (self.on_node[self.site.devices[device].node], self.on_device[device])
    }
}

/// All groups of a pool.
pub(super) struct Plan<'a> {
    pub(super) site: &'a Site,
    pub(super) rules: Rules,
    pub(super) avoid_node: bool,
    pub(super) groups: Vec<Draft>,
    /// Sets with room for a whole group.
    pub(super) usable: Vec<usize>,
    scheme: Scheme,
    salt: u64,
}

impl<'a> Plan<'a> {
    /// What is placed and still legal stays; the rest is empty.
    pub(super) fn new(site: &'a Site, pool: &Pool, wish: &Wish, existing: &Groups, count: usize) -> Self {
        let rules = Rules::of(pool);
        let mut groups: Vec<Draft> = existing.iter().map(|slots| keep_legal(site, &rules, slots)).collect();
        groups.resize(count, Draft { slots: vec![None; rules.width], set: None, new: true });
        let mut plan =
            Self { site, rules, avoid_node: wish.avoid_node, groups, usable: Vec::new(), scheme: pool.scheme, salt: u64::from(pool.id.0) };
        plan.usable = (0..site.sets.len()).filter(|set| plan.avoided(&site.sets[*set], &[]).is_some()).collect();
        plan
    }

    /// How many nodes of the set a group avoids.
    fn avoided_count(&self, set: &Set) -> usize {
        if self.avoid_node { set.nodes.len().div_ceil(AVOID_ONE_IN) } else { 0 }
    }

    /// The nodes that the next new group of a set avoids, so that there is room for it: those avoided least so far. `None` where there is
    /// no room.
    pub(super) fn avoided(&self, set: &Set, times: &[usize]) -> Option<Vec<usize>> {
        let mut nodes = set.nodes.clone();
        nodes.sort_by_key(|node| (times.get(*node).copied().unwrap_or(0), *node));
        let count = self.avoided_count(set);
        (0..nodes.len().max(1))
            .map(|turn| nodes.iter().cycle().skip(turn).take(count).copied().collect::<Vec<_>>())
            .find(|avoid| self.site.room(set, &self.rules, avoid) == self.rules.width)
    }

    /// Gives each group a storage set: a group that has one keeps it, unless moving it whole brings the balance of sets nearer.
    pub(super) fn assign_sets(&mut self) {
        let usable = self.usable.clone();
        let weight = |set: usize| self.site.sets[set].devices.iter().map(|d| self.site.devices[*d].weight).sum::<f64>();
        let total: f64 = usable.iter().map(|s| weight(*s)).sum();
        let elsewhere = self.groups.iter().filter(|g| g.set.is_some_and(|s| !usable.contains(&s))).count();
        let share = (self.groups.len() - elsewhere) as f64;
        let ideal: Vec<f64> = usable.iter().map(|s| share * weight(*s) / total).collect();
        let mut have: Vec<f64> = usable.iter().map(|s| self.groups.iter().filter(|g| g.set == Some(*s)).count() as f64).collect();
        for index in 0..self.groups.len() {
            if self.groups[index].set.is_none()
                && let Some(poorest) = extreme(&ideal, &have, |lack| lack)
            {
                self.groups[index].set = Some(usable[poorest]);
                have[poorest] += 1.0;
            }
        }
        while let (Some(poor), Some(rich)) = (extreme(&ideal, &have, |lack| lack), extreme(&ideal, &have, |lack| -lack)) {
            let (over, under) = (have[rich] - ideal[rich], ideal[poor] - have[poor]);
            let near = |off: f64, set: usize| off <= SETS_APART * ideal[set];
            if over + under <= 1.0 + 1e-6 || (near(over, rich) && near(under, poor)) {
                break;
            }
            let salt = self.salt;
            let cost = |g: &Draft| g.slots.iter().flatten().count();
            let candidates = self.groups.iter().enumerate().filter(|(_, g)| g.set == Some(usable[rich]));
            let Some(index) = candidates.min_by_key(|(i, g)| (cost(g), mix(salt, *i as u64))).map(|(i, _)| i) else { break };
            self.groups[index] = Draft { slots: vec![None; self.rules.width], set: Some(usable[poor]), new: true };
            have[rich] -= 1.0;
            have[poor] += 1.0;
        }
    }

    /// Fills and balances the groups of one set.
    pub(super) fn place_set(&mut self, set: usize) {
        let members: Vec<usize> = (0..self.groups.len()).filter(|i| self.groups[*i].set == Some(set)).collect();
        if members.is_empty() {
            return;
        }
        let home = &self.site.sets[set];
        let at_least = if self.avoid_node { members.len() / AVOID_ONE_IN } else { 0 };
        let widest = self.avoided(home, &[]).unwrap_or_default();
        let rules = self.site.spread(home, &self.rules, &widest);
        let targets = targets(self.site, home, &rules, members.len(), at_least);
        let mut ledger = Ledger::new(self.site, targets, at_least);
        for index in &members {
            if !self.groups[*index].new {
                ledger.enter(&self.groups[*index].slots);
            }
        }
        for index in &members {
            if self.groups[*index].new {
                let avoid = self.avoided(home, &ledger.avoided).unwrap_or_default();
                let slots = self.fill(&ledger, &rules, *index, &avoid);
                ledger.enter(&slots);
                self.groups[*index].slots = slots;
            }
        }
        for index in &members {
            if self.groups[*index].slots.contains(&None) {
                ledger.leave(&self.groups[*index].slots);
                let used: Vec<usize> = self.groups[*index].slots.iter().flatten().map(|d| self.site.devices[*d].node).collect();
                let kept = |node: &usize| !used.contains(node) && ledger.avoided[*node] < at_least;
                // Those that are avoided most are given up first where there is no room without them.
                let mut avoid: Vec<usize> = home.nodes.iter().copied().filter(kept).collect();
                avoid.sort_by_key(|node| (ledger.avoided[*node], *node));
                let mut slots = self.fill(&ledger, &rules, *index, &avoid);
                while slots.contains(&None) && avoid.pop().is_some() {
                    slots = self.fill(&ledger, &rules, *index, &avoid);
                }
                ledger.enter(&slots);
                self.groups[*index].slots = slots;
            }
        }
        ledger.balance(self, &rules, set, &members);
        self.order_roles(&members);
    }

    /// Fills the empty slots of a group as far as the rules allow, the emptiest devices first.
    fn fill(&self, ledger: &Ledger<'_>, rules: &Rules, index: usize, avoid: &[usize]) -> Vec<Option<usize>> {
        let mut slots = self.groups[index].slots.clone();
        let Some(set) = self.groups[index].set else { return slots };
        let salt = mix(self.salt, index as u64);
        let mut order: Vec<usize> =
            self.site.sets[set].devices.iter().copied().filter(|d| !avoid.contains(&self.site.devices[*d].node)).collect();
        order.sort_by(|a, b| ledger.excess(*a).total_cmp(&ledger.excess(*b)).then_with(|| mix(salt, *a as u64).cmp(&mix(salt, *b as u64))));
        // The second round takes more on one node than an even spread would, where else a slot stayed empty.
        for rules in [rules, &self.rules] {
            for device in &order {
                if let Some(empty) = slots.iter().position(Option::is_none)
                    && self.site.fits(rules, &slots, *device)
                {
                    slots[empty] = Some(*device);
                }
            }
        }
        slots
    }

    /// Orders the slots of new groups, so that first members (the preferred primaries) and parity units are spread, too.
    fn order_roles(&mut self, members: &[usize]) {
        let special: std::ops::Range<usize> = match self.scheme {
            Scheme::Replicated { .. } => 0..1,
            Scheme::Erasure { data, .. } => usize::from(data)..self.rules.width,
        };
        let mut load = RoleLoad { site: self.site, on_node: vec![0; self.site.devices.len()], on_device: vec![0; self.site.devices.len()] };
        for index in members.iter().filter(|i| !self.groups[**i].new) {
            self.groups[*index].slots[special.clone()].iter().flatten().for_each(|d| load.add(*d));
        }
        for index in members {
            let draft = &mut self.groups[*index];
            let mut rest: Vec<usize> = draft.slots.iter().flatten().copied().collect();
            if !draft.new || rest.len() < self.rules.width {
                continue;
            }
            let salt = mix(self.salt, *index as u64);
            rest.sort_by_key(|d| mix(salt, *d as u64));
            draft.slots.fill(None);
            for slot in special.clone() {
                if let Some(least) = (0..rest.len()).min_by_key(|i| load.of(rest[*i])) {
                    let device = rest.remove(least);
                    load.add(device);
                    draft.slots[slot] = Some(device);
                }
            }
            for (slot, device) in draft.slots.iter_mut().filter(|s| s.is_none()).zip(rest) {
                *slot = Some(device);
            }
        }
    }

    pub(super) fn salt(&self) -> u64 {
        self.salt
    }

    pub(super) fn into_groups(self) -> Groups {
        let id = |slot: Option<usize>| slot.map(|d| self.site.devices[d].id);
        self.groups.iter().map(|group| group.slots.iter().copied().map(id).collect()).collect()
    }
}

/// The place where `key(ideal - have)` is greatest; the first of equals.
fn extreme(ideal: &[f64], have: &[f64], key: impl Fn(f64) -> f64) -> Option<usize> {
    let lack = |i: &usize| key(ideal[*i] - have[*i]);
    (0..ideal.len()).max_by(|a, b| lack(a).total_cmp(&lack(b)).then(b.cmp(a)))
}

/// What stays of a group: the slots in the set where most of them are, as far as they break no rule.
fn keep_legal(site: &Site, rules: &Rules, slots: &[Option<types::DeviceId>]) -> Draft {
    let device = |slot: &Option<types::DeviceId>| slot.and_then(|id| site.index.get(&id).copied());
    let mut in_set = vec![0usize; site.sets.len()];
    for d in slots.iter().filter_map(device) {
        in_set[site.devices[d].set] += 1;
    }
    let set = (0..in_set.len()).filter(|s| in_set[*s] > 0).max_by(|a, b| in_set[*a].cmp(&in_set[*b]).then(b.cmp(a)));
    let mut kept = vec![None; rules.width];
    for (i, slot) in slots.iter().enumerate().take(rules.width) {
        if let Some(d) = device(slot)
            && Some(site.devices[d].set) == set
            && site.fits(rules, &kept, d)
        {
            kept[i] = Some(d);
        }
    }
    Draft { slots: kept, set, new: false }
}
