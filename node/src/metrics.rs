//! The process's page of metrics: what it is asked, its devices, its replicas, its lease. A page is of one life of the process; counters begin
//! anew with each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ha_api::tls::Tls;
use service::metrics::{self, Kind, Page};
use tokio::net::TcpListener;
use types::map::Group;
use types::wire::Operation;
use types::wire::request::DeviceUsage;

use crate::serve::Node;

/// Numbers of operations are below this.
const OPERATIONS: usize = 64;
/// Pause between attempts to listen: the life before may not have let go of the port yet.
const LISTEN_PAUSE: Duration = Duration::from_secs(1);

/// A metric's name, what it is, and where it comes from.
type Figure = (&'static str, &'static str, fn(&DeviceUsage) -> u64);

/// How often something was asked for.
#[derive(Debug)]
pub struct Requests {
    of: [AtomicU64; OPERATIONS],
    /// Refused because too many were under way.
    pub refused: AtomicU64,
}

impl Default for Requests {
    fn default() -> Self {
        Self { of: [const { AtomicU64::new(0) }; OPERATIONS], refused: AtomicU64::new(0) }
    }
}

impl Requests {
    /// A request has come.
    pub fn came(&self, operation: Operation) {
        if let Some(count) = self.of.get(operation as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counts(&self) -> impl Iterator<Item = (Operation, u64)> {
        let numbered = (0u16..).zip(&self.of).filter_map(|(number, count)| Some((Operation::from_u16(number)?, count)));
        numbered.map(|(operation, count)| (operation, count.load(Ordering::Relaxed)))
    }
}

/// Serves the page at that address for as long as the life lasts. A port that cannot be had is tried again: nothing else depends on it.
pub async fn run(node: Arc<Node>, address: String, tls: Option<Tls>) {
    let mut said = false;
    let listener = loop {
        match TcpListener::bind(&address).await {
            Ok(listener) => break listener,
            Err(error) if said => tracing::debug!(address, %error, "the metrics are not served yet"),
            Err(error) => {
                tracing::warn!(address, %error, "the metrics are not served yet");
                said = true;
            }
        }
        tokio::time::sleep(LISTEN_PAUSE).await;
    };
    metrics::serve(listener, move || {
        let (node, tls) = (node.clone(), tls.clone());
        async move { page(&node, tls.as_ref()) }
    })
    .await;
}

fn page(node: &Node, tls: Option<&Tls>) -> Page {
    let mut page = Page::default();
    page.metric("redoubt_build_info", Kind::Gauge, "The program; always 1.")
        .sample(&[("program", &"redoubt-node"), ("version", &env!("CARGO_PKG_VERSION"))], 1);
    if let Some(tls) = tls {
        // Nobody takes one that cannot be read, or is over.
        let seconds = tls.good_for().map_or(0, |time| time.as_secs());
        page.metric("redoubt_certificate_good_for_seconds", Kind::Gauge, "For how long the certificate will be taken.")
            .sample(&[], seconds);
    }
    let mut metric = page.metric("redoubt_requests_total", Kind::Counter, "Requests on the fabric, by what they ask for.");
    for (operation, count) in node.requests.counts() {
        metric.sample(&[("operation", &format!("{operation:?}"))], count);
    }
    let refused = node.requests.refused.load(Ordering::Relaxed);
    page.metric("redoubt_requests_busy_total", Kind::Counter, "Requests refused because too many were under way.").sample(&[], refused);
    devices(node, &mut page);
    groups(node, &mut page);
    page
}

fn devices(node: &Node, page: &mut Page) {
    let usage = node.usage();
    let figures: [Figure; 5] = [
        ("redoubt_node_device_size_bytes", "Bytes for units of a device.", |usage| usage.bytes),
        ("redoubt_node_device_free_bytes", "Bytes free of them.", |usage| usage.free),
        ("redoubt_node_device_metadata_bytes", "Bytes of metadata of a device.", |usage| usage.meta_bytes),
        ("redoubt_node_device_units", "Units of a device.", |usage| usage.units),
        (
            "redoubt_node_device_transactions_unfinished",
            "Transactions over several groups that are not done, by the replicas of a device.",
            |usage| usage.unfinished,
        ),
    ];
    for (name, help, of) in figures {
        let mut metric = page.metric(name, Kind::Gauge, help);
        for usage in &usage {
            metric.sample(&[("device", &usage.device)], of(usage));
        }
    }
    let now = Instant::now();
    let mut ordered: Vec<_> = node.devices.iter().collect();
    ordered.sort_by_key(|(id, _)| **id);
    let mut metric = page.metric("redoubt_node_device_failed", Kind::Gauge, "Whether the process has stopped using a device.");
    for (id, device) in &ordered {
        metric.sample(&[("device", id)], u8::from(device.store.failure().is_some()));
    }
    let mut metric = page.metric("redoubt_node_device_busy_seconds", Kind::Gauge, "How long the oldest transfer of a device is under way.");
    for (id, device) in &ordered {
        let busy = device.store.busy_since().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        metric.sample(&[("device", id)], busy.as_secs_f64());
    }
    let mut metric = page.metric("redoubt_node_device_lease", Kind::Gauge, "Whether the lease lets groups of a device be served.");
    for (id, _) in &ordered {
        metric.sample(&[("device", id)], u8::from(node.lease.holds(now, node.fences.taken_in(**id))));
    }
}

fn groups(node: &Node, page: &mut Page) {
    let view = node.views.now();
    page.metric("redoubt_node_log_index", Kind::Gauge, "How far HA's log is taken in.").sample(&[], view.index);
    let (mut replicas, mut primaries, mut active) = (0u64, 0u64, 0u64);
    for (id, group) in &view.map.groups {
        let Group::Replicated(view) = group else { continue };
        replicas += group.devices().iter().filter(|device| node.devices.contains_key(*device)).count() as u64;
        if let Some(device) = node.primary_here(view) {
            primaries += 1;
            active += u64::from(node.permits.holds(device, *id, view.number));
        }
    }
    for (name, help, value) in [
        ("redoubt_node_replicas", "Replicas of DTM0 groups in this process.", replicas),
        ("redoubt_node_primaries", "Groups whose primary is in this process.", primaries),
        ("redoubt_node_primaries_active", "Of these, those that serve.", active),
    ] {
        page.metric(name, Kind::Gauge, help).sample(&[], value);
    }
}
