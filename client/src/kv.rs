//! Transactions, reads and scans of rows, at the primaries of their groups: tried again, with the same dtx id, until their deadline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use net::{NetError, Peer, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use types::event::Cause;
use types::map::ClusterMap;
use types::ops::Op;
use types::record::{Outcome, Row, RowKey, Write};
use types::wire::Operation;
use types::wire::request::{self, Refusal, ScanPage, ScanRow};
use types::{CatalogueId, Epoch, GroupId, NodeId, ViewNumber, codec};

use crate::Error;
use crate::inner::{Inner, kind_word};
use crate::near::ReadFrom;
use crate::retry::Attempts;

/// How long one attempt may take before another one is made, with the same dtx id: longer than any healthy answer, shorter than patience.
const ATTEMPT: Duration = Duration::from_millis(1500);

/// With no answer for so long the map is fetched anew, and again: a healthy primary answers sooner, one that is cut off never does.
const LATE: Duration = Duration::from_millis(150);

/// What became of one attempt.
pub(crate) enum Failure {
    /// It never reached the other side's code.
    NotSent(String),
    /// It may have.
    Unanswered(String),
    /// The other side refused it.
    Refused(Refusal),
}

impl Inner {
    /// Runs a transaction of one group on its primary.
    pub(crate) async fn execute(self: &Arc<Self>, what: &str, group: GroupId, ops: Vec<Op>) -> Result<Outcome, Error> {
        self.execute_with(what, group, ops, Vec::new()).await
    }

    /// Runs a transaction that `group` decides, with parts in others, on that group's primary.
    pub(crate) async fn execute_with(
        self: &Arc<Self>,
        what: &str,
        group: GroupId,
        ops: Vec<Op>,
        parts: Vec<(GroupId, Vec<Write>)>,
    ) -> Result<Outcome, Error> {
        self.execute_for(Cause::Asked, what, group, ops, parts).await
    }

    /// The same, by that cause.
    pub(crate) async fn execute_for(
        self: &Arc<Self>,
        cause: Cause,
        what: &str,
        group: GroupId,
        ops: Vec<Op>,
        parts: Vec<(GroupId, Vec<Write>)>,
    ) -> Result<Outcome, Error> {
        types::ops::validate_with(&ops, &parts).map_err(|e| Error::Invalid(format!("{what}: {e}")))?;
        let mut attempts = Attempts::new(what, self.options.timeout);
        // Held until its outcome is known: what a closed session has under way is refused.
        let mut session = self.session(&mut attempts).await?;
        let mut dtx = session.dtx();
        let mut perhaps = false;
        loop {
            let (map, began) = (self.fresh_map(), Instant::now());
            let failure = match primary(&map, group) {
                Ok((view, peer)) => {
                    let message = request::Execute { group, view, dtx, ops: ops.clone(), parts: parts.clone(), cause };
                    match self.ask::<_, Outcome>(&peer, &[group], Operation::Execute, &message, &attempts).await {
                        Ok(outcome) => return Ok(outcome),
                        Err(failure) => failure,
                    }
                }
                Err(reason) => Failure::NotSent(reason),
            };
            perhaps |= matches!(failure, Failure::Unanswered(_) | Failure::Refused(Refusal::InDoubt { .. }));
            if let Failure::Refused(Refusal::Fenced(closed)) = &failure {
                let closed = *closed;
                self.sessions.forget(closed).await;
                if perhaps {
                    attempts.failed(format!("session {closed} was closed meanwhile"));
                    return Err(attempts.unknown());
                }
                session = self.session(&mut attempts).await?;
                dtx = session.dtx();
            }
            if let Failure::Refused(Refusal::OutcomeUnknown) = &failure {
                attempts.failed(Refusal::OutcomeUnknown);
                return Err(attempts.unknown());
            }
            if let Err(error) = self.after(failure, began, &mut attempts).await {
                if !perhaps {
                    return Err(error);
                }
                // A refusal says nothing of an attempt before it that was not answered.
                if !error.is_retryable() {
                    attempts.failed(error);
                }
                return Err(attempts.unknown());
            }
        }
    }

    /// Rows of one group, as they are now.
    pub(crate) async fn read(self: &Arc<Self>, what: &str, group: GroupId, rows: Vec<RowKey>) -> Result<Vec<Option<Row>>, Error> {
        let mut attempts = Attempts::new(what, self.options.timeout);
        loop {
            let (map, began) = (self.fresh_map(), Instant::now());
            if self.options.read == ReadFrom::Nearest
                && let Some(found) = self.read_near(&map, group, &rows, &attempts).await
            {
                return Ok(found);
            }
            let failure = match primary(&map, group) {
                Ok((view, peer)) => {
                    let message = request::Read { group, view, rows: rows.clone() };
                    match self.ask::<_, Vec<Option<Row>>>(&peer, &[group], Operation::Read, &message, &attempts).await {
                        Ok(found) if found.len() == rows.len() => return Ok(found),
                        Ok(found) => Failure::Unanswered(format!("{} rows came for {}", found.len(), rows.len())),
                        Err(failure) => failure,
                    }
                }
                Err(reason) => Failure::NotSent(reason),
            };
            self.after(failure, began, &mut attempts).await?;
        }
    }

    /// A page of a catalogue: at most `limit` rows at or after `from` that begin with `prefix` (both with their kind byte), in order.
    pub(crate) async fn scan(
        self: &Arc<Self>,
        what: &str,
        catalogue: CatalogueId,
        from: &[u8],
        prefix: &[u8],
        limit: u32,
        values: bool,
    ) -> Result<ScanPage, Error> {
        self.scan_of(what, catalogue, |_| true, from, prefix, limit, values).await
    }

    /// The same of some of its groups.
    #[expect(clippy::too_many_arguments, reason = "a scan, and where")]
    pub(crate) async fn scan_of(
        self: &Arc<Self>,
        what: &str,
        catalogue: CatalogueId,
        of: impl Fn(GroupId) -> bool,
        from: &[u8],
        prefix: &[u8],
        limit: u32,
        values: bool,
    ) -> Result<ScanPage, Error> {
        let mut attempts = Attempts::new(what, self.options.timeout);
        loop {
            let (map, began) = (self.fresh_map(), Instant::now());
            let failure = match by_node(&map, catalogue, &of) {
                Ok(nodes) => {
                    let pages = nodes.into_values().map(|(peer, groups)| {
                        let whose: Vec<_> = groups.iter().map(|(group, _)| *group).collect();
                        let message = request::Scan { groups, catalogue, from: from.to_vec(), prefix: prefix.to_vec(), limit, values };
                        let attempts = &attempts;
                        async move { self.ask::<_, ScanPage>(&peer, &whose, Operation::Scan, &message, attempts).await }
                    });
                    match futures::future::try_join_all(pages).await {
                        Ok(pages) => return Ok(merge(pages, limit as usize)),
                        Err(failure) => failure,
                    }
                }
                Err(reason) => Failure::NotSent(reason),
            };
            self.after(failure, began, &mut attempts).await?;
        }
    }

    /// One attempt at the primary of these groups; given up where a newer map has another one.
    pub(crate) async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        peer: &Peer,
        groups: &[GroupId],
        operation: Operation,
        message: &Q,
        attempts: &Attempts,
    ) -> Result<A, Failure> {
        tokio::select! {
            biased;
            answer = self.ask_once(peer, operation, message, attempts) => answer,
            () = self.moves(peer, groups, attempts) => {
                Err(Failure::Unanswered(format!("{} had not answered when another became primary", peer.address)))
            }
        }
    }

    /// One attempt at whoever it is.
    pub(crate) async fn ask_once<Q: Serialize, A: DeserializeOwned>(
        &self,
        peer: &Peer,
        operation: Operation,
        message: &Q,
        attempts: &Attempts,
    ) -> Result<A, Failure> {
        let request = Request::new(operation, codec::encode(message));
        let reply = self.transport.call(peer, request, attempts.attempt_deadline(ATTEMPT)).await?;
        let answer: Result<A, Refusal> =
            codec::decode(&reply.head).map_err(|e| Failure::Unanswered(format!("{} answered nonsense: {e}", peer.address)))?;
        answer.map_err(Failure::Refused)
    }

    /// Ends when a map says that one of these groups has a primary elsewhere than at `peer`; looks for such a map as long as it waits.
    async fn moves(&self, peer: &Peer, groups: &[GroupId], attempts: &Attempts) {
        let mut maps = self.map.watch();
        loop {
            let is_elsewhere =
                |map: &ClusterMap| groups.iter().any(|group| primary(map, *group).is_ok_and(|(_, now)| now.node != peer.node));
            if is_elsewhere(&maps.borrow_and_update().map) {
                return;
            }
            let asked = Instant::now();
            if tokio::time::timeout(LATE, maps.changed()).await.is_err() {
                self.learn(Epoch(0), asked, attempts.deadline()).await;
            }
        }
    }

    /// What follows from a failed attempt: an error that ends the operation, or a newer map and a pause.
    async fn after(&self, failure: Failure, began: Instant, attempts: &mut Attempts) -> Result<(), Error> {
        let mut epoch = Epoch(0);
        match failure {
            Failure::NotSent(reason) | Failure::Unanswered(reason) => attempts.failed(reason),
            Failure::Refused(refusal) => match refusal {
                Refusal::WrongView { epoch: known, .. } | Refusal::InDoubt { epoch: known, .. } => {
                    epoch = known;
                    attempts.failed(refusal);
                }
                Refusal::Busy(_) | Refusal::Fenced(_) | Refusal::Device { .. } => attempts.failed(refusal),
                Refusal::Gone(catalogue) => {
                    let known = self.map.latest();
                    let what = known
                        .catalogues
                        .get(&catalogue)
                        .map_or_else(|| catalogue.to_string(), |c| format!("{} `{}`", kind_word(c.kind), c.name));
                    // The name may be another's by now: what comes next looks it up anew.
                    self.learn(epoch, began, attempts.deadline()).await;
                    return Err(Error::NotFound(what));
                }
                Refusal::Full(_) => return Err(Error::Full(refusal.to_string())),
                other => return Err(Error::Refused(other.to_string())),
            },
        }
        attempts.pause().await?;
        self.learn(epoch, began, attempts.deadline()).await;
        Ok(())
    }
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        if error.is_not_sent() { Self::NotSent(error.to_string()) } else { Self::Unanswered(error.to_string()) }
    }
}

/// The view of a group and whom to ask, or why nobody can be asked.
pub(crate) fn primary(map: &ClusterMap, group: GroupId) -> Result<(ViewNumber, Peer), String> {
    let view = map.view(group).ok_or_else(|| format!("the map of {} has no replicated group {group}", map.epoch))?;
    let primary = view.primary.ok_or_else(|| format!("group {group} has no primary"))?;
    let node = map.node_of(primary.device).ok_or_else(|| format!("{} is in no node", primary.device))?;
    Ok((view.number, Peer::node(node.fabric_address.clone(), node.id, None)))
}

/// A catalogue's groups by the node of their primaries.
type ByNode = BTreeMap<NodeId, (Peer, Vec<(GroupId, ViewNumber)>)>;

fn by_node(map: &ClusterMap, catalogue: CatalogueId, of: &dyn Fn(GroupId) -> bool) -> Result<ByNode, String> {
    let catalogue = map.catalogues.get(&catalogue).ok_or_else(|| format!("{catalogue} is not in the map of {}", map.epoch))?;
    let pool = map.pools.get(&catalogue.pool).ok_or_else(|| format!("{} is not in the map", catalogue.pool))?;
    let mut nodes = ByNode::new();
    for i in 0..catalogue.width.min(pool.groups) {
        let group = types::routing::catalogue_group(catalogue, pool, i);
        if !of(group) {
            continue;
        }
        let (view, peer) = primary(map, group)?;
        let node = peer.node.unwrap_or_default();
        nodes.entry(node).or_insert_with(|| (peer, Vec::new())).1.push((group, view));
    }
    Ok(nodes)
}

/// The first rows of several pages, in order. A page that has more bounds what is known of the others: nothing after its last row counts.
fn merge(pages: Vec<ScanPage>, limit: usize) -> ScanPage {
    let bound = pages.iter().filter(|p| p.more).filter_map(|p| p.rows.last().map(|row| row.key.clone())).min();
    let mut more = bound.is_some() || pages.iter().any(|p| p.more);
    let mut rows: Vec<ScanRow> = pages.into_iter().flat_map(|page| page.rows).collect();
    rows.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    if let Some(bound) = bound {
        rows.retain(|row| row.key <= bound);
    }
    if rows.len() > limit {
        rows.truncate(limit);
        more = true;
    }
    ScanPage { rows, more }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use types::Seq;

    fn page(keys: &[u8], more: bool) -> ScanPage {
        let row = |key: &u8| ScanRow { key: vec![*key], row: Row { version: Seq(1), value: Vec::new() } };
        ScanPage { rows: keys.iter().map(row).collect(), more }
    }

    #[test]
    fn pages_merge_in_order_and_stop_where_one_of_them_has_more() {
        assert_eq!(merge(vec![page(&[1, 4], false), page(&[2, 3], false)], 10), page(&[1, 2, 3, 4], false));
        assert_eq!(merge(vec![page(&[1, 4], true), page(&[2, 3, 5], false)], 10), page(&[1, 2, 3, 4], true));
        assert_eq!(merge(vec![page(&[1, 4], false), page(&[2, 3], false)], 2), page(&[1, 2], true));
        assert_eq!(merge(vec![page(&[], false)], 2), page(&[], false));
    }

    #[test]
    fn a_scan_asks_each_node_once() {
        let map = sample::map();
        let nodes = by_node(&map, sample::BUCKET, &|_| true).expect("all groups have a primary");
        assert_eq!(nodes.len(), 3);
        assert_eq!(nodes.values().map(|(_, groups)| groups.len()).sum::<usize>(), 4);
    }
}
