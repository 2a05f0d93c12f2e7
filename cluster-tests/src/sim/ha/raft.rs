//! A small model of Raft's log: one leader a term, entries that a quorum has are kept for good, of the others a new leader has as many as
//! chance wants. A leader that is deposed does not know it, and gets no quorum any more. Votes and logs of single daemons are not modelled.

use ha_state::Command;

use crate::sim::network::NodeNumber;

/// The group.
#[derive(Clone, Debug, Default)]
pub struct Raft {
    term: u64,
    leader: Option<NodeNumber>,
    log: Vec<(u64, Option<Command>)>,
    committed: u64,
    /// The entry with which the present term began.
    began: u64,
}

impl Raft {
    /// A group that has agreed on that.
    pub fn with(first: Command) -> Self {
        Self { log: vec![(0, Some(first))], committed: 1, ..Self::default() }
    }

    /// The present term.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Who leads in it.
    pub fn leader(&self) -> Option<NodeNumber> {
        self.leader
    }

    /// The last entry that is kept for good.
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// The last entry of the present leader.
    pub fn last(&self) -> u64 {
        self.log.len() as u64
    }

    /// An entry, with its term; `None` for the one with which a term begins.
    pub fn entry(&self, index: u64) -> (u64, Option<&Command>) {
        let (term, command) = &self.log[index as usize - 1];
        (*term, command.as_ref())
    }

    /// A leader of `term` writes an entry; what a deposed one writes nobody ever reads.
    pub fn append(&mut self, term: u64, command: Command) -> Option<u64> {
        (term == self.term).then(|| {
            self.log.push((term, Some(command)));
            self.last()
        })
    }

    /// A new term with that leader, which has `survive` of the entries that no quorum has yet.
    pub fn elect(&mut self, node: NodeNumber, survive: u64) -> u64 {
        let keep = self.last().min(self.committed + survive);
        self.log.truncate(keep as usize);
        self.term += 1;
        self.leader = Some(node);
        self.log.push((self.term, None));
        self.began = self.last();
        self.term
    }

    /// A quorum has what the leader of `term` had up to `upto`.
    pub fn commit(&mut self, term: u64, upto: u64) {
        if term == self.term && upto >= self.began {
            self.committed = self.committed.max(upto);
        }
    }

    /// What a leader of `term`, confirmed by a quorum, must have applied before it answers a read; `None` while it cannot know.
    pub fn read_index(&self, term: u64) -> Option<u64> {
        (term == self.term && self.committed >= self.began).then_some(self.committed)
    }
}
