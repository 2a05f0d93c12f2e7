//! Balance within one storage set: what each device should carry, what it does, and the moves between.

use std::collections::BTreeMap;

use super::assign::Plan;
use super::site::{Rules, Set, Site, mix};

/// What each device should carry, in slots: by weight, as far as the rules for single groups allow.
pub(super) fn targets(site: &Site, set: &Set, rules: &Rules, groups: usize, avoided: usize) -> Vec<f64> {
    let all = groups as f64;
    let reach = (groups - avoided) as f64;
    // Racks, nodes, disk groups, devices: each with the most it may carry.
    type Tree = BTreeMap<usize, BTreeMap<usize, BTreeMap<usize, Vec<usize>>>>;
    let mut tree = Tree::new();
    for d in &set.devices {
        let dev = &site.devices[*d];
        tree.entry(dev.rack).or_default().entry(dev.node).or_default().entry(dev.disk_group).or_default().push(*d);
    }
    let weight = |devices: &[usize]| devices.iter().map(|d| site.devices[*d].weight).sum::<f64>();
    let leaf = |d: &usize| Share { weight: site.devices[*d].weight, most: reach, devices: vec![*d], parts: Vec::new() };
    let join = |parts: Vec<Share>, most: f64| {
        let devices: Vec<usize> = parts.iter().flat_map(|p| p.devices.clone()).collect();
        let most = parts.iter().map(|p| p.most).sum::<f64>().min(most);
        Share { weight: weight(&devices), most, devices, parts }
    };
    let racks = tree.values().map(|nodes| {
        let nodes = nodes.values().map(|disk_groups| {
            let groups = disk_groups.values().map(|d| join(d.iter().map(leaf).collect(), reach * rules.disk_group as f64));
            join(groups.collect(), reach * rules.node as f64)
        });
        join(nodes.collect(), all * rules.rack as f64)
    });
    let root = join(racks.collect(), all * rules.width.min(rules.set) as f64);
    let mut out = vec![0.0; site.devices.len()];
    root.pour(root.most, &mut out);
    out
}

/// A part of the set, with its weight and the most it may carry.
struct Share {
    weight: f64,
    most: f64,
    devices: Vec<usize>,
    parts: Vec<Share>,
}

impl Share {
    /// Spreads `amount` over the parts by weight; what one cannot take goes to the others.
    fn pour(&self, amount: f64, out: &mut [f64]) {
        if self.parts.is_empty() {
            for d in &self.devices {
                out[*d] = amount;
            }
            return;
        }
        let (mut left, mut open): (f64, Vec<&Share>) = (amount, self.parts.iter().collect());
        loop {
            let weight: f64 = open.iter().map(|p| p.weight).sum();
            let full = open.iter().position(|p| left * p.weight / weight > p.most);
            match full {
                Some(i) => {
                    let part = open.remove(i);
                    part.pour(part.most, out);
                    left -= part.most;
                }
                None => {
                    for part in open {
                        part.pour(left * part.weight / weight, out);
                    }
                    return;
                }
            }
        }
    }
}

/// What each device carries, and how many groups avoid each node.
pub(super) struct Ledger<'a> {
    site: &'a Site,
    targets: Vec<f64>,
    have: Vec<usize>,
    /// By node: groups without a slot there.
    pub(super) avoided: Vec<usize>,
    at_least: usize,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(site: &'a Site, targets: Vec<f64>, at_least: usize) -> Self {
        let devices = site.devices.len();
        Self { site, targets, have: vec![0; devices], avoided: vec![0; devices], at_least }
    }

    fn nodes_without(&self, slots: &[Option<usize>]) -> Vec<usize> {
        let Some(first) = slots.iter().flatten().next() else { return Vec::new() };
        let set = &self.site.sets[self.site.devices[*first].set];
        let used: Vec<usize> = slots.iter().flatten().map(|d| self.site.devices[*d].node).collect();
        set.nodes.iter().copied().filter(|n| !used.contains(n)).collect()
    }

    pub(super) fn enter(&mut self, slots: &[Option<usize>]) {
        for node in self.nodes_without(slots) {
            self.avoided[node] += 1;
        }
        for d in slots.iter().flatten() {
            self.have[*d] += 1;
        }
    }

    pub(super) fn leave(&mut self, slots: &[Option<usize>]) {
        for node in self.nodes_without(slots) {
            self.avoided[node] -= 1;
        }
        for d in slots.iter().flatten() {
            self.have[*d] -= 1;
        }
    }

    /// How much a device carries above its target.
    pub(super) fn excess(&self, device: usize) -> f64 {
        self.have[device] as f64 - self.targets[device]
    }

    /// Moves slots from devices above their target to devices below, as long as that brings both nearer: directly, else by way of a third.
    /// Each step lowers the sum of the squares of all excesses, so it ends.
    pub(super) fn balance(&mut self, plan: &mut Plan<'_>, rules: &Rules, set: usize, members: &[usize]) {
        let devices = self.site.sets[set].devices.clone();
        let mut steps = members.len() * rules.width * 4;
        while steps > 0 && self.step(plan, rules, &devices, members) {
            steps -= 1;
        }
    }

    fn step(&mut self, plan: &mut Plan<'_>, rules: &Rules, devices: &[usize], members: &[usize]) -> bool {
        let mut pairs: Vec<(usize, usize)> = Vec::new();
        for rich in devices {
            for poor in devices {
                if self.excess(*rich) - self.excess(*poor) > 1.0 + 1e-6 {
                    pairs.push((*rich, *poor));
                }
            }
        }
        pairs.sort_by(|a, b| (self.excess(b.0) - self.excess(b.1)).total_cmp(&(self.excess(a.0) - self.excess(a.1))));
        if pairs.iter().any(|(rich, poor)| self.shift(plan, rules, members, *rich, *poor)) {
            return true;
        }
        for (rich, poor) in pairs {
            for via in devices.iter().filter(|d| **d != rich && **d != poor) {
                if self.movable(plan, rules, members, *via, poor).is_some() && self.shift(plan, rules, members, rich, *via) {
                    // The second half may have become illegal by the first; then the next step sees `via` as the rich one, or none.
                    if self.shift(plan, rules, members, *via, poor) {
                        return true;
                    }
                    self.shift(plan, rules, members, *via, rich);
                }
            }
        }
        false
    }

    /// A group of which `from` may give its slot to `to`.
    fn movable(&self, plan: &Plan<'_>, rules: &Rules, members: &[usize], from: usize, to: usize) -> Option<usize> {
        let legal = |index: &usize| {
            let slots = &plan.groups[*index].slots;
            if !slots.contains(&Some(from)) || slots.contains(&Some(to)) {
                return false;
            }
            let without: Vec<Option<usize>> = slots.iter().map(|s| s.filter(|d| *d != from)).collect();
            let node = self.site.devices[to].node;
            let avoids = !slots.iter().flatten().any(|d| self.site.devices[*d].node == node);
            self.site.fits(rules, &without, to) && !(avoids && self.avoided[node] <= self.at_least && self.at_least > 0)
        };
        let salt = mix(plan.salt(), mix(from as u64, to as u64));
        // What is new moves for nothing.
        members.iter().copied().filter(legal).min_by_key(|i| (!plan.groups[*i].new, mix(salt, *i as u64)))
    }

    fn shift(&mut self, plan: &mut Plan<'_>, rules: &Rules, members: &[usize], from: usize, to: usize) -> bool {
        let Some(index) = self.movable(plan, rules, members, from, to) else { return false };
        let slots = &mut plan.groups[index].slots;
        let before = slots.clone();
        for slot in slots.iter_mut().filter(|s| **s == Some(from)) {
            *slot = Some(to);
        }
        let after = slots.clone();
        self.leave(&before);
        self.enter(&after);
        true
    }
}
