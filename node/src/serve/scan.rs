//! `Scan`: a page of a catalogue from the groups whose primary is here, merged in the order of keys.
//!
//! Each group's rows are read from applied state and shown under the same conditions as those of a `Read`. The page is cut where an
//! answer is full; the sender goes on after its last key.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use net::Incoming;
use tokio::sync::Semaphore;
use types::limits::{MESSAGE_HEAD_BYTES_MAX, SCAN_KEYS_MAX};
use types::wire::request::{Refusal, Scan, ScanPage, ScanRow};
use types::{DeviceId, GroupId, ViewNumber};

use super::{Gate, Node, admit, answer, behind, decoded, not_active, refuse};

/// Scans that may read at once: each takes a thread.
pub const SCANS_MAX: usize = 8;
/// Most groups in one request: all of a cluster.
const GROUPS_MAX: usize = 256;
/// Bytes of keys and values in one page.
const PAGE_BYTES_MAX: usize = MESSAGE_HEAD_BYTES_MAX - 256 * 1024;
/// What a row takes in an answer beside its key and value.
const ROW_BYTES: usize = 32;

/// Answers a scan.
pub async fn run(node: Arc<Node>, incoming: Incoming, scans: Arc<Semaphore>) {
    let Some((scan, incoming)) = decoded::<Scan>(incoming) else { return };
    let newest = scan.groups.iter().map(|(_, view)| view.0).max().unwrap_or(0);
    if node.views.now().index < newest {
        node.catch_up(newest).await;
    }
    let Ok(permit) = scans.acquire_owned().await else { return refuse(incoming, behind(newest)) };
    let reading = tokio::task::spawn_blocking(move || {
        // Held until it is read, whether anybody waits for that or not.
        let _permit = permit;
        let page = page(&node, &scan);
        answer(incoming, &page);
    });
    if let Err(error) = reading.await {
        tracing::error!(%error, "a scan was given up");
    }
}

fn page(node: &Node, scan: &Scan) -> Result<ScanPage, Refusal> {
    if scan.groups.len() > GROUPS_MAX {
        return Err(Refusal::Invalid(format!("a scan has at most {GROUPS_MAX} groups, this one has {}", scan.groups.len())));
    }
    // Each group is a run in memory: named twice it would be one twice.
    if scan.groups.iter().map(|(group, _)| group).collect::<BTreeSet<_>>().len() < scan.groups.len() {
        return Err(Refusal::Invalid("a scan names each group once".into()));
    }
    let Some(&kind) = scan.from.first().or(scan.prefix.first()) else {
        return Err(Refusal::Invalid("a scan begins at a key or has a prefix, with its kind byte".into()));
    };
    let prefix = if scan.prefix.is_empty() { vec![kind] } else { scan.prefix.clone() };
    if prefix[0] != kind {
        return Err(Refusal::Invalid("the prefix of a scan is of the kind of its first key".into()));
    }
    admit::admit_catalogue(scan.catalogue, &node.views.now())?;
    let limit = (scan.limit as usize).clamp(1, SCAN_KEYS_MAX);
    let places = places(node, &scan.groups)?;
    let mut runs = Vec::with_capacity(places.len());
    for (device, group) in &places {
        let store = &node.device(*device)?.store;
        // One more than the page takes tells whether there is more.
        let rows = store.meta().scan(*group, scan.catalogue, &scan.from, &prefix, limit + 1, scan.values);
        runs.push(rows.map_err(|error| node.reports.storage(*device, &error))?);
    }
    for ((device, group), (_, view)) in places.iter().zip(&scan.groups) {
        if !node.may_show(*device, *group, *view) {
            return Err(not_active());
        }
    }
    Ok(merge(runs, limit))
}

fn places(node: &Node, groups: &[(GroupId, ViewNumber)]) -> Result<Vec<(DeviceId, GroupId)>, Refusal> {
    let place = |(group, view): &(GroupId, ViewNumber)| match node.gate(*group, *view) {
        Gate::Pass(device) => Ok((device, *group)),
        Gate::Behind => Err(behind(view.0)),
        Gate::Refuse(refusal) => Err(refusal),
    };
    groups.iter().map(place).collect()
}

/// The first rows of all runs together, each of which is in order.
fn merge(runs: Vec<Vec<ScanRow>>, limit: usize) -> ScanPage {
    let mut runs: Vec<_> = runs.into_iter().map(|run| run.into_iter().peekable()).collect();
    let mut heap: BinaryHeap<Reverse<(Vec<u8>, usize)>> = BinaryHeap::new();
    for (index, run) in runs.iter_mut().enumerate() {
        if let Some(first) = run.peek() {
            heap.push(Reverse((first.key.clone(), index)));
        }
    }
    let mut page = ScanPage::default();
    let mut bytes = 0;
    while let Some(Reverse((_, index))) = heap.pop() {
        let Some(row) = runs[index].next() else { continue };
        bytes += row.key.len() + row.row.value.len() + ROW_BYTES;
        if page.rows.len() == limit || (bytes > PAGE_BYTES_MAX && !page.rows.is_empty()) {
            page.more = true;
            break;
        }
        page.rows.push(row);
        if let Some(next) = runs[index].peek() {
            heap.push(Reverse((next.key.clone(), index)));
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Seq;
    use types::record::Row;

    fn run(keys: &[u8], value_bytes: usize) -> Vec<ScanRow> {
        keys.iter().map(|key| ScanRow { key: vec![*key], row: Row { version: Seq(1), value: vec![0; value_bytes] } }).collect()
    }

    fn keys(page: &ScanPage) -> Vec<u8> {
        page.rows.iter().map(|row| row.key[0]).collect()
    }

    #[test]
    fn a_page_is_the_first_keys_of_all_groups() {
        let page = merge(vec![run(&[1, 4, 7], 0), run(&[2, 3, 9], 0), Vec::new()], 4);
        assert_eq!((keys(&page), page.more), (vec![1, 2, 3, 4], true));
        let all = merge(vec![run(&[1, 4], 0), run(&[2], 0)], 3);
        assert_eq!((keys(&all), all.more), (vec![1, 2, 4], false));
    }

    #[test]
    fn a_page_ends_where_an_answer_is_full_and_is_never_empty_for_it() {
        let page = merge(vec![run(&[1, 2, 3], PAGE_BYTES_MAX / 2)], 10);
        assert_eq!((keys(&page), page.more), (vec![1], true));
        let large = merge(vec![run(&[1], PAGE_BYTES_MAX + 1)], 10);
        assert_eq!((keys(&large), large.more), (vec![1], false));
    }
}
