//! Telling HA what the process has to report, until HA's log shows that it was heard.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ha_api::{DeviceReport, DeviceTrouble, HaClient, HaError};
use types::{Boot, CatalogueId, DeviceId, GroupId, Incarnation, NodeId, ViewNumber};

use crate::report::{DeviceEnd, HowEnded, Pending, Reports};
use crate::view::{ClusterView, Views};

/// How often what was not heard is said again.
const AGAIN: Duration = Duration::from_millis(200);

/// Most groups reported as empty at once: the rest follow.
const EMPTIED_MAX: usize = 1024;

/// Most slots reported as filled at once: the rest follow.
const SLOTS_MAX: usize = 1024;

/// Who reports, and what.
pub struct Hearing {
    /// HA.
    pub ha: HaClient,
    /// This node.
    pub me: NodeId,
    /// This start of its process.
    pub boot: Boot,
    /// What is to be reported.
    pub reports: Reports,
    /// What HA's log says.
    pub views: Arc<Views>,
    /// Formats of this process's devices.
    pub incarnations: BTreeMap<DeviceId, Incarnation>,
}

impl Hearing {
    /// Reports for ever.
    pub async fn run(self) {
        let mut views = self.views.subscribe();
        let mut counts: BTreeMap<DeviceId, u64> = BTreeMap::new();
        loop {
            let view = self.views.now();
            if let Err(error) = self.say(&view, &mut counts).await {
                tracing::debug!(%error, "a report was not heard");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            tokio::select! {
                () = self.reports.changed() => {}
                _ = views.changed() => {}
                () = tokio::time::sleep(AGAIN), if self.reports.with(|pending| !pending.active.is_empty() || !pending.emptied.is_empty() || !pending.slots.is_empty()) => {}
            }
        }
    }

    async fn say(&self, view: &ClusterView, counts: &mut BTreeMap<DeviceId, u64>) -> Result<(), HaError> {
        let active = self.reports.with(|pending| active(pending, view));
        if !active.is_empty() {
            self.ha.report_active(self.boot, &active).await?;
        }
        if let Some(announced) = view.recovering.iter().find(|a| a.node == self.me && a.boot == self.boot)
            && self.reports.with(|pending| has_all(pending, view, announced.epoch))
        {
            tracing::info!(epoch = %announced.epoch, "recovered");
            self.ha.report_recovered(self.boot, announced.epoch).await?;
        }
        let emptied = self.reports.with(|pending| emptied(pending, view));
        if !emptied.is_empty() {
            self.ha.report_emptied(self.boot, &emptied).await?;
        }
        self.say_filled(view).await?;
        self.say_slots(view).await?;
        self.say_errors(counts).await?;
        self.say_failures().await?;
        self.say_lags().await
    }

    /// Learners that are filled; what HA refuses, the machine says again in its next view.
    async fn say_filled(&self, view: &ClusterView) -> Result<(), HaError> {
        let filled = self.reports.with(|pending| filled(pending, view));
        if filled.is_empty() {
            return Ok(());
        }
        heard(self.ha.report_filled(self.boot, &filled).await)?;
        self.reports.with(|pending| {
            for (group, number, device, incarnation) in filled {
                if pending.filled.get(&(group, device)) == Some(&(number, incarnation)) {
                    pending.filled.remove(&(group, device));
                }
            }
        });
        Ok(())
    }

    /// Slots that have all their units, until HA's log shows it; where HA refuses, the next view has them filled again.
    async fn say_slots(&self, view: &ClusterView) -> Result<(), HaError> {
        let slots = self.reports.with(|pending| filled_slots(pending, view));
        let known = |device: DeviceId| self.incarnations.get(&device).copied();
        let slots: Vec<_> =
            slots.into_iter().filter_map(|(group, number, slot, device)| Some((group, number, slot, device, known(device)?))).collect();
        if slots.is_empty() {
            return Ok(());
        }
        heard(self.ha.report_slots(self.boot, &slots).await)
    }

    async fn say_errors(&self, counts: &mut BTreeMap<DeviceId, u64>) -> Result<(), HaError> {
        while let Some((device, trouble)) = self.reports.with(|pending| pending.errors.first_key_value().map(|(d, t)| (*d, t.clone()))) {
            let number = counts.entry(device).or_insert(1);
            if let Some(incarnation) = self.incarnations.get(&device) {
                let errors = DeviceTrouble::Errors { count: trouble.count, report: *number };
                let report = DeviceReport { device, incarnation: *incarnation, trouble: errors, error: trouble.last };
                heard(self.ha.report_device(&report).await)?;
            }
            *number += 1;
            self.reports.with(|pending| {
                let all_told = pending.errors.get_mut(&device).is_none_or(|left| {
                    left.count -= trouble.count;
                    left.count == 0
                });
                if all_told {
                    pending.errors.remove(&device);
                }
            });
        }
        Ok(())
    }

    async fn say_failures(&self) -> Result<(), HaError> {
        while let Some((device, end)) = self.reports.with(|pending| pending.failed.first_key_value().map(|(d, e)| (*d, e.clone()))) {
            let DeviceEnd { incarnation, how, reason } = end;
            if let Some(incarnation) = incarnation.or_else(|| self.incarnations.get(&device).copied()) {
                let trouble = match how {
                    HowEnded::Broke => DeviceTrouble::Ended,
                    HowEnded::Hangs => DeviceTrouble::Hangs,
                    HowEnded::Forgot => DeviceTrouble::Amnesia,
                };
                heard(self.ha.report_device(&DeviceReport { device, incarnation, trouble, error: reason }).await)?;
            }
            self.reports.with(|pending| pending.failed.remove(&device));
        }
        Ok(())
    }

    async fn say_lags(&self) -> Result<(), HaError> {
        while let Some((device, (incarnation, error))) =
            self.reports.with(|pending| pending.lagging.first_key_value().map(|(d, l)| (*d, l.clone())))
        {
            // Refused where too few would be left: the machine says it again in its next view.
            heard(self.ha.report_device(&DeviceReport { device, incarnation, trouble: DeviceTrouble::Lags, error }).await)?;
            self.reports.with(|pending| pending.lagging.remove(&device));
        }
        Ok(())
    }
}

/// A refusal is an answer too: saying it again does not help.
fn heard(answer: Result<(), HaError>) -> Result<(), HaError> {
    match answer {
        Err(error) if error.is_retryable() => Err(error),
        Err(error) => {
            tracing::warn!(%error, "a report is refused");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// The groups to report as active; forgets those that HA has recorded, or that have another view by now.
pub fn active(pending: &mut Pending, view: &ClusterView) -> Vec<(GroupId, ViewNumber)> {
    pending.active.retain(|group, number| {
        let Some(current) = view.map.view(*group) else { return *number > ViewNumber(view.index) };
        current.number < *number || (current.number == *number && current.active < *number)
    });
    pending.active.iter().map(|(group, number)| (*group, *number)).collect()
}

/// The learners to report as filled, once the view in which they are is recorded active; forgets those of views that are over.
pub fn filled(pending: &mut Pending, view: &ClusterView) -> Vec<(GroupId, ViewNumber, DeviceId, Incarnation)> {
    pending.filled.retain(|(group, _), (number, _)| view.map.view(*group).is_none_or(|current| current.number <= *number));
    let recorded = |group: &GroupId, number: ViewNumber| view.map.view(*group).is_some_and(|v| v.number == number && v.active == number);
    let due = pending.filled.iter().filter(|((group, _), (number, _))| recorded(group, *number));
    due.map(|((group, device), (number, incarnation))| (*group, *number, *device, *incarnation)).collect()
}

/// The slots to report as filled; forgets those that HA has recorded, or that have another view by now.
fn filled_slots(pending: &mut Pending, view: &ClusterView) -> Vec<(GroupId, ViewNumber, u8, DeviceId)> {
    pending.slots.retain(|(group, slot), (number, _)| {
        let lacks = view.unfilled.get(group).is_some_and(|lacking| lacking.contains_key(slot));
        lacks && view.map.slots(*group).is_some_and(|slots| slots.number == *number)
    });
    let all = pending.slots.iter().take(SLOTS_MAX);
    all.map(|((group, slot), (number, device))| (*group, *number, *slot, *device)).collect()
}

/// The groups to report as empty of dropped catalogues, some of them; forgets those that HA has recorded, or whose primary is another by now.
fn emptied(pending: &mut Pending, view: &ClusterView) -> Vec<(CatalogueId, GroupId, ViewNumber)> {
    pending.emptied.retain(|(catalogue, group), number| {
        let is_left = view.dropped.get(catalogue).is_some_and(|dropped| dropped.left.contains(group));
        is_left && view.map.view(*group).is_some_and(|current| current.number == *number)
    });
    pending.emptied.iter().take(EMPTIED_MAX).map(|((catalogue, group), number)| (*catalogue, *group, *number)).collect()
}

/// Whether every group that has to has its `End`, for that announcement.
pub fn has_all(pending: &Pending, view: &ClusterView, epoch: types::Epoch) -> bool {
    view.to_recover.iter().all(|group| pending.ended.get(group).is_some_and(|ended| *ended == epoch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::map::{ClusterMap, Group, GroupView};
    use types::{Epoch, PoolId};

    const GROUP: GroupId = GroupId { pool: PoolId(1), index: 0 };

    fn view(number: u64, active: u64) -> ClusterView {
        let group = GroupView {
            number: ViewNumber(number),
            created: Epoch(1),
            primary: None,
            members: Vec::new(),
            old: Vec::new(),
            learners: Vec::new(),
            active: ViewNumber(active),
        };
        let map = ClusterMap { index: number, groups: [(GROUP, Group::Replicated(group))].into(), ..ClusterMap::default() };
        ClusterView { index: number, map: Arc::new(map), to_recover: Arc::new(vec![GROUP]), ..ClusterView::default() }
    }

    #[test]
    fn an_active_group_is_reported_until_it_is_recorded_or_superseded() {
        let mut pending = Pending::default();
        pending.active.insert(GROUP, ViewNumber(5));
        assert_eq!(active(&mut pending, &view(4, 3)), [(GROUP, ViewNumber(5))]);
        assert_eq!(active(&mut pending, &view(5, 3)), [(GROUP, ViewNumber(5))]);
        assert!(active(&mut pending.clone(), &view(5, 5)).is_empty());
        assert!(active(&mut pending, &view(6, 3)).is_empty());
        assert!(pending.active.is_empty());
    }

    #[test]
    fn a_filled_learner_is_reported_once_its_view_is_recorded_active_and_forgotten_when_it_is_over() {
        let mut pending = Pending::default();
        let (learner, incarnation) = (DeviceId(9), Incarnation(3));
        pending.filled.insert((GROUP, learner), (ViewNumber(5), incarnation));
        assert!(filled(&mut pending, &view(5, 3)).is_empty(), "HA would refuse it");
        assert_eq!(filled(&mut pending, &view(5, 5)), [(GROUP, ViewNumber(5), learner, incarnation)]);
        assert!(filled(&mut pending, &view(6, 6)).is_empty());
        assert!(pending.filled.is_empty());
    }

    #[test]
    fn an_empty_group_is_reported_until_it_is_recorded_or_has_another_primary() {
        let catalogue = types::map::Catalogue {
            id: CatalogueId(2),
            name: "people".into(),
            kind: types::map::CatalogueKind::Index,
            pool: PoolId(1),
            first_group: 0,
            width: 1,
        };
        let dropped = ha_state::state::Dropped { catalogue, at: 4, left: [GROUP].into() };
        let being_emptied = ClusterView { dropped: Arc::new([(CatalogueId(2), dropped)].into()), ..view(5, 5) };
        let mut pending = Pending::default();
        pending.emptied.insert((CatalogueId(2), GROUP), ViewNumber(5));
        assert_eq!(emptied(&mut pending, &being_emptied), [(CatalogueId(2), GROUP, ViewNumber(5))]);
        assert!(emptied(&mut pending.clone(), &view(5, 5)).is_empty(), "recorded");
        assert!(emptied(&mut pending, &ClusterView { dropped: being_emptied.dropped.clone(), ..view(6, 6) }).is_empty());
        assert!(pending.emptied.is_empty());
    }

    #[test]
    fn a_process_has_recovered_when_every_group_has_its_end_for_this_announcement() {
        let mut pending = Pending::default();
        assert!(!has_all(&pending, &view(5, 5), Epoch(4)));
        pending.ended.insert(GROUP, Epoch(3));
        assert!(!has_all(&pending, &view(5, 5), Epoch(4)));
        pending.ended.insert(GROUP, Epoch(4));
        assert!(has_all(&pending, &view(5, 5), Epoch(4)));
    }
}
