//! For the model check only: two states that differ in nothing but how many tickets were ever given out are one state.

use crate::effect::Ticket;
use crate::replica::Replica;
use crate::role::Role;

impl Replica {
    /// The last ticket that is synced.
    pub fn synced_ticket(&self) -> Ticket {
        self.synced
    }

    /// Counts tickets from one that is synced on. The driver has to do the same with those that it keeps.
    pub fn rebase_tickets(&mut self, by: Ticket) {
        assert!(by <= self.synced, "only what is synced is over");
        let rebase = |ticket: &mut Ticket| ticket.0 = ticket.0.saturating_sub(by.0);
        rebase(&mut self.issued);
        rebase(&mut self.issued_sync);
        rebase(&mut self.committed);
        rebase(&mut self.synced);
        rebase(&mut self.durable.ticket);
        self.marks.iter_mut().for_each(|mark| rebase(&mut mark.ticket));
        match &mut self.role {
            Role::Installing { ticket, .. } => rebase(ticket),
            Role::Primary(primary) => primary.held.iter_mut().filter_map(|held| held.after.as_mut()).for_each(rebase),
            _ => {}
        }
    }
}
