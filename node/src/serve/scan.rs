//! `Scan`: a page of a catalogue from the groups whose primary is here, merged in the order of keys.
//!
//! Each group's rows are read from applied state and shown under the same conditions as those of a `Read`. The page is cut where an
//! answer is full; the sender goes on after its last key. Each device is read on a thread of its own: one that hangs keeps its own permits,
//! and scans of other devices go on.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use net::Incoming;
use storage::meta::{Run, RunBounds};
use tokio::sync::Semaphore;
use types::limits::{MESSAGE_HEAD_BYTES_MAX, SCAN_KEYS_MAX};
use types::wire::request::{Refusal, Scan, ScanPage};
use types::{DeviceId, GroupId, ViewNumber};

use super::{Gate, Node, admit, answer, behind, decoded, not_active, refuse};

/// Scans at a time: each has what it has read in memory, and lets go of it at its deadline at the latest.
pub const SCANS_MAX: usize = 16;
/// Those that may read one device at once: each takes a thread, for as long as the device takes. Fewer than all, for other devices' sake.
pub const SCANS_OF_DEVICE_MAX: usize = 8;
/// How long a scan waits for its turn at a device: its client asks again, and meanwhile learns of a primary elsewhere.
const TURN_WAIT: Duration = Duration::from_millis(500);
/// Most groups in one request: all of a cluster.
const GROUPS_MAX: usize = 256;
/// Bytes of keys and values in one page.
const PAGE_BYTES_MAX: usize = MESSAGE_HEAD_BYTES_MAX - 256 * 1024;
/// Bytes that are read of one group for a page, whatever the number of groups: fewer would be a page of few rows where one group has most of them.
const RUN_BYTES_MIN: usize = 64 * 1024;
/// What a row takes in an answer beside its key and value.
const ROW_BYTES: usize = 32;

/// Answers a scan.
pub async fn run(node: Arc<Node>, incoming: Incoming, scans: Arc<Semaphore>) {
    let Some((scan, incoming)) = decoded::<Scan>(incoming) else { return };
    let newest = scan.groups.iter().map(|(_, view)| view.0).max().unwrap_or(0);
    if node.views.now().index < newest {
        node.catch_up(newest).await;
    }
    let Ok(_permit) = scans.acquire_owned().await else { return refuse(incoming, behind(newest)) };
    answer(incoming, &page(&node, scan).await);
}

async fn page(node: &Arc<Node>, mut scan: Scan) -> Result<ScanPage, Refusal> {
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
    if scan.prefix.is_empty() {
        scan.prefix = vec![kind];
    }
    if scan.prefix[0] != kind {
        return Err(Refusal::Invalid("the prefix of a scan is of the kind of its first key".into()));
    }
    admit::admit_catalogue(scan.catalogue, &node.views.now())?;
    let limit = (scan.limit as usize).clamp(1, SCAN_KEYS_MAX);
    let places = places(node, &scan.groups)?;
    let scan = Arc::new(scan);
    let runs = runs(node, &scan, &places, limit).await?;
    for ((device, group), (_, view)) in places.iter().zip(&scan.groups) {
        if !node.may_show(*device, *group, *view) {
            return Err(not_active());
        }
    }
    Ok(merge(runs, limit))
}

/// The rows of each group, in whatever order of groups.
async fn runs(node: &Arc<Node>, scan: &Arc<Scan>, places: &[(DeviceId, GroupId)], limit: usize) -> Result<Vec<Run>, Refusal> {
    // One more row than the page takes tells whether there is more. All groups together hold two pages, and no more for each than one.
    let bytes = (2 * PAGE_BYTES_MAX / places.len().max(1)).clamp(RUN_BYTES_MIN, PAGE_BYTES_MAX + ROW_BYTES);
    let bounds = RunBounds { rows: limit + 1, bytes };
    let mut by_device: BTreeMap<DeviceId, Vec<GroupId>> = BTreeMap::new();
    for (device, group) in places {
        by_device.entry(*device).or_default().push(*group);
    }
    let reads = by_device.into_iter().map(|(device, groups)| runs_of(node, scan, device, groups, bounds));
    Ok(futures::future::try_join_all(reads).await?.into_iter().flatten().collect())
}

async fn runs_of(
    node: &Arc<Node>,
    scan: &Arc<Scan>,
    device: DeviceId,
    groups: Vec<GroupId>,
    bounds: RunBounds,
) -> Result<Vec<Run>, Refusal> {
    let turn = tokio::time::timeout(TURN_WAIT, node.device(device)?.scans.clone().acquire_owned()).await;
    let Ok(Ok(permit)) = turn else { return Err(Refusal::Busy(format!("{SCANS_OF_DEVICE_MAX} scans wait for {device}"))) };
    let (node, scan) = (node.clone(), scan.clone());
    let reading = tokio::task::spawn_blocking(move || {
        // Held until it is read, whether anybody waits for that or not.
        let _permit = permit;
        let meta = node.device(device)?.store.meta();
        let run = |group: &GroupId| meta.scan_run(*group, scan.catalogue, &scan.from, &scan.prefix, bounds, scan.values);
        groups.iter().map(run).collect::<Result<_, _>>().map_err(|error| node.reports.storage(device, &error))
    });
    reading.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a scan was given up");
        Err(Refusal::Busy("a scan was given up".into()))
    })
}

fn places(node: &Node, groups: &[(GroupId, ViewNumber)]) -> Result<Vec<(DeviceId, GroupId)>, Refusal> {
    let place = |(group, view): &(GroupId, ViewNumber)| match node.gate(*group, *view) {
        Gate::Pass(device) => Ok((device, *group)),
        Gate::Behind => Err(behind(view.0)),
        Gate::Refuse(refusal) => Err(refusal),
    };
    groups.iter().map(place).collect()
}

/// The first rows of all runs together, each of which is in order. The page ends with the last row of a run that was cut: what is behind that is
/// not known.
fn merge(runs: Vec<Run>, limit: usize) -> ScanPage {
    let cut: Vec<bool> = runs.iter().map(|run| run.is_cut).collect();
    let mut runs: Vec<_> = runs.into_iter().map(|run| run.rows.into_iter().peekable()).collect();
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
        match runs[index].peek() {
            Some(next) => heap.push(Reverse((next.key.clone(), index))),
            None if cut[index] => {
                page.more = true;
                break;
            }
            None => {}
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::serve::{LocalDevice, tests};
    use storage::sim::SimDisk;
    use storage::{Identity, OpenOptions};
    use types::record::Row;
    use types::wire::request::ScanRow;
    use types::{CatalogueId, ClusterId, Incarnation, PoolId, Seq};

    fn local(id: u32) -> (DeviceId, LocalDevice) {
        let (device, cluster) = (DeviceId(id), ClusterId(7));
        let identity = Identity { uuid: id.into(), cluster, device, incarnation: Incarnation(1), bytes: 1 << 20 };
        let store = SimDisk::new(identity, 1).open(&OpenOptions::new(cluster, device)).expect("opens");
        (device, LocalDevice::new(store, 1 << 20, 2))
    }

    #[tokio::test]
    async fn scans_that_hang_at_a_device_do_not_keep_those_of_another_waiting() {
        let mut node = tests::node();
        node.devices = [local(1), local(2)].into();
        let node = Arc::new(node);
        let group = |index| GroupId { pool: PoolId(1), index };
        let scan = Scan { groups: Vec::new(), catalogue: CatalogueId(1), from: vec![1], prefix: vec![1], limit: 10, values: true };
        let scan = Arc::new(scan);
        // As many as may read the first device do, and never end.
        let hung = node.devices[&DeviceId(1)].scans.clone().acquire_many_owned(SCANS_OF_DEVICE_MAX as u32).await.expect("permits");
        let began = Instant::now();
        let (first, second) = ((DeviceId(1), group(1)), (DeviceId(2), group(2)));
        let waits = futures::future::join_all((0..SCANS_OF_DEVICE_MAX).map(|_| {
            let (node, scan) = (node.clone(), scan.clone());
            async move { runs(&node, &scan, &[first, second], 10).await }
        }));
        let goes_on = async {
            for _ in 0..2 * SCANS_OF_DEVICE_MAX {
                runs(&node, &scan, &[second], 10).await.expect("the other device is read");
            }
            began.elapsed()
        };
        let (waits, went_on) = tokio::join!(waits, goes_on);
        assert!(went_on < TURN_WAIT, "{went_on:?}");
        assert!(waits.iter().all(|answer| matches!(answer, Err(Refusal::Busy(_)))), "{waits:?}");
        drop(hung);
        assert_eq!(runs(&node, &scan, &[first, second], 10).await.map(|runs| runs.len()), Ok(2));
    }

    fn run(keys: &[u8], value_bytes: usize) -> Run {
        let row = |key: &u8| ScanRow { key: vec![*key], row: Row { version: Seq(1), value: vec![0; value_bytes] } };
        Run { rows: keys.iter().map(row).collect(), is_cut: false }
    }

    fn keys(page: &ScanPage) -> Vec<u8> {
        page.rows.iter().map(|row| row.key[0]).collect()
    }

    #[test]
    fn a_page_is_the_first_keys_of_all_groups() {
        let page = merge(vec![run(&[1, 4, 7], 0), run(&[2, 3, 9], 0), Run::default()], 4);
        assert_eq!((keys(&page), page.more), (vec![1, 2, 3, 4], true));
        let all = merge(vec![run(&[1, 4], 0), run(&[2], 0)], 3);
        assert_eq!((keys(&all), all.more), (vec![1, 2, 4], false));
    }

    #[test]
    fn a_page_ends_with_the_last_row_that_is_known_of_a_group() {
        let cut = |keys: &[u8]| Run { is_cut: true, ..run(keys, 0) };
        let page = merge(vec![cut(&[1, 4]), run(&[2, 3, 5], 0), cut(&[6, 9])], 10);
        assert_eq!((keys(&page), page.more), (vec![1, 2, 3, 4], true));
        let whole = merge(vec![run(&[1, 4], 0), cut(&[5])], 10);
        assert_eq!((keys(&whole), whole.more), (vec![1, 4, 5], true));
    }

    #[test]
    fn a_page_ends_where_an_answer_is_full_and_is_never_empty_for_it() {
        let page = merge(vec![run(&[1, 2, 3], PAGE_BYTES_MAX / 2)], 10);
        assert_eq!((keys(&page), page.more), (vec![1], true));
        let large = merge(vec![run(&[1], PAGE_BYTES_MAX + 1)], 10);
        assert_eq!((keys(&large), large.more), (vec![1], false));
    }
}
