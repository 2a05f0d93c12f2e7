//! Leases: when a replica may serve a read, and when it may answer a client.
//!
//! A lease counts from the sending of its renewal, which is the driver's to say, and only once HA's log is taken in up to the epoch that its
//! grant carried: so a primary that was replaced knows it before it could answer anything.

use types::wire::request::Refusal;
use types::{HaTime, Seq, ViewNumber};

use crate::effect::Effect;
use crate::event::Instant;
use crate::replica::Replica;
use crate::role::Role;

/// The right to serve a read: take it, read the rows that the device shows, and answer before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadPermit {
    /// The rows show at least everything up to here, and that is all that any client was told of.
    pub stable: Seq,
    /// Not to be answered at or after this instant.
    pub until: Instant,
}

impl Replica {
    /// When the lease in hand ends, if it counts now.
    pub(crate) fn lease_until(&self, now: Instant) -> Option<Instant> {
        let (lease, _) = self.lease?;
        let taken_in = lease.epoch <= self.epoch || !self.config.lease_epoch();
        let running = now < lease.until || !self.config.lease_ends();
        (taken_in && running).then_some(if self.config.lease_ends() { lease.until } else { Instant(u64::MAX) })
    }

    /// HA time now, as far as this process knows.
    pub(crate) fn ha_time(&self, now: Instant) -> HaTime {
        self.lease.map_or(HaTime(0), |(lease, at)| HaTime(lease.ha_time.0.saturating_add(now.0.saturating_sub(at.0))))
    }

    fn recovering(&self) -> bool {
        self.placement
            .as_ref()
            .and_then(|p| p.peers.get(&self.me.device))
            .is_none_or(|me| me.recovering.is_some() || !me.state.is_readable())
    }

    /// Whether a read in `view` may be served here, by the primary: linearizable.
    pub fn read(&self, view: ViewNumber, now: Instant) -> Result<ReadPermit, Refusal> {
        let Role::Primary(primary) = &self.role else { return Err(self.wrong_view()) };
        if view != self.promised {
            return Err(self.wrong_view());
        }
        if !primary.active && self.config.read_active() {
            return Err(Refusal::Busy("the group is not active yet".into()));
        }
        if self.committed_applied < primary.base && self.config.read_base_applied() {
            return Err(Refusal::Busy("the group's base is being applied".into()));
        }
        if self.recovering() {
            return Err(Refusal::Busy("the primary is recovering".into()));
        }
        let Some(until) = self.lease_until(now) else { return Err(Refusal::Busy("no lease".into())) };
        Ok(ReadPermit { stable: self.published(), until })
    }

    /// Whether a nearest read may be served here, by any member, after the primary gave `stable` with a permit of its own.
    pub fn read_nearest(&self, stable: Seq, now: Instant) -> Result<ReadPermit, Refusal> {
        if self.normal.is_none() || self.recovering() {
            return Err(Refusal::Busy("the replica is recovering".into()));
        }
        if self.committed_applied < stable {
            return Err(Refusal::Busy("the replica is behind".into()));
        }
        let until = if self.config.nearest_lease() { self.lease_until(now) } else { Some(Instant(u64::MAX)) };
        let Some(until) = until else { return Err(Refusal::Busy("no lease".into())) };
        Ok(ReadPermit { stable: self.committed_applied, until })
    }

    /// What the rows on the device show, of what is STABLE: what others may be told.
    pub(crate) fn published(&self) -> Seq {
        if self.config.publish_applied() { self.committed_applied } else { self.stable }
    }

    /// Gives the answers that waited for a lease.
    pub(crate) fn release_held(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let Some(until) = self.lease_until(now) else { return };
        if let Role::Primary(primary) = &mut self.role {
            for held in primary.held.drain(..) {
                let after = held.after.filter(|t| *t > self.committed);
                effects.push(Effect::Complete { client: held.client, reply: held.reply, after, before: Some(until) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use types::Epoch;
    use types::state::DeviceState;

    use super::*;
    use crate::event::{Event, Lease};
    use crate::placement::Peer;
    use crate::testing::{B, ME, NOW, V, follower, persistent, placement, primary, said, step};

    #[test]
    fn the_active_primary_with_a_lease_serves_reads() {
        let mut replica = primary();
        assert_eq!(replica.read(V, NOW), Ok(ReadPermit { stable: Seq(0), until: Instant(2000) }));
        assert!(replica.read(V, Instant(2000)).is_err(), "the lease is over");
        assert!(matches!(replica.read(ViewNumber(9), NOW), Err(Refusal::WrongView { .. })));
        step(&mut replica, Event::Lease(Lease { until: Instant(3000), epoch: Epoch(11), ha_time: HaTime(0) }));
        assert!(replica.read(V, NOW).is_err(), "HA has said something that is not taken in");
        step(&mut replica, Event::Epoch(Epoch(11)));
        assert!(replica.read(V, NOW).is_ok());
    }

    #[test]
    fn a_recovering_primary_serves_none() {
        let mut replica = primary();
        let mut announced = placement(10, ME);
        let me = Peer { state: DeviceState::Recovering, recovering: Some(Epoch(10)), ..announced.peers[&ME] };
        announced.peers.insert(ME, me);
        step(&mut replica, Event::Placement(Box::new(announced)));
        assert!(matches!(replica.read(V, NOW), Err(Refusal::Busy(_))));
    }

    #[test]
    fn a_base_that_the_rows_do_not_show_stops_reads() {
        let mut replica = primary();
        let Role::Primary(p) = &mut replica.role else { unreachable!() };
        p.base = Seq(1);
        assert!(matches!(replica.read(V, NOW), Err(Refusal::Busy(_))));
        step(&mut replica, said(B, persistent(10, 0)));
        replica.committed_applied = Seq(1);
        assert!(replica.read(V, NOW).is_ok());
    }

    #[test]
    fn a_member_serves_nearest_reads_of_what_it_shows() {
        let replica = follower();
        assert!(replica.read_nearest(Seq(0), NOW).is_ok());
        assert!(replica.read_nearest(Seq(1), NOW).is_err(), "it is behind");
        assert!(replica.read_nearest(Seq(0), Instant(2000)).is_err(), "no lease");
        assert!(matches!(replica.read(V, NOW), Err(Refusal::WrongView { .. })));
    }
}
