//! The process's page of metrics: what it is asked, its devices, its replicas, its lease. A page is of one life of the process; counters begin
//! anew with each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ha_api::tls::Tls;
use s3::Figures;
use service::metrics::{self, Answer, Kind, Page};
use tokio::net::TcpListener;
use types::load::{Kind as LoadKind, NodeLoad, TIME_STEPS, Work};
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

/// What was done of one operation.
#[derive(Debug, Default)]
struct Done {
    came: AtomicU64,
    micros: AtomicU64,
    bytes: AtomicU64,
    steps: [AtomicU64; TIME_STEPS],
}

impl Done {
    fn work(&self) -> Work {
        let of = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let steps: [u64; TIME_STEPS] = std::array::from_fn(|step| of(&self.steps[step]));
        Work { count: steps.iter().sum(), micros: of(&self.micros), bytes: of(&self.bytes), steps }
    }
}

/// What became of events that were to be told.
#[derive(Debug, Default)]
pub struct EventCounts {
    /// Told.
    pub told: AtomicU64,
    /// Attempts that failed.
    pub failed: AtomicU64,
    /// Given up, because too many waited, their target was deleted, or their bucket.
    pub dropped: AtomicU64,
}

/// How often something was asked for, and how it went.
#[derive(Debug)]
pub struct Requests {
    of: [Done; OPERATIONS],
    since: Instant,
    /// Refused because too many were under way.
    pub refused: AtomicU64,
}

impl Default for Requests {
    fn default() -> Self {
        Self { of: std::array::from_fn(|_| Done::default()), since: Instant::now(), refused: AtomicU64::new(0) }
    }
}

impl Requests {
    /// A request has come.
    pub fn came(&self, operation: Operation) {
        if let Some(done) = self.of.get(operation as usize) {
            done.came.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request is over.
    pub fn ended(&self, operation: Operation, took: Duration, bytes: usize) {
        let Some(done) = self.of.get(operation as usize) else { return };
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        done.micros.fetch_add(micros, Ordering::Relaxed);
        done.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        done.steps[Work::step(micros)].fetch_add(1, Ordering::Relaxed);
    }

    /// What HA is told: all but how full devices are.
    pub fn load(&self) -> NodeLoad {
        let mut load = NodeLoad {
            at_ms: u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            refused: self.refused.load(Ordering::Relaxed),
            ..NodeLoad::default()
        };
        for (operation, done) in self.all() {
            if let Some(kind) = LoadKind::of(operation) {
                let work = &mut load.work[kind as usize];
                *work = work.and(&done.work());
            }
        }
        load
    }

    fn all(&self) -> impl Iterator<Item = (Operation, &Done)> {
        (0u16..).zip(&self.of).filter_map(|(number, done)| Some((Operation::from_u16(number)?, done)))
    }
}

/// Serves the page at that address for as long as the life lasts. A port that cannot be had is tried again: nothing else depends on it.
pub async fn run(node: Arc<Node>, address: String, tls: Option<Tls>, s3: Arc<Figures>) {
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
    metrics::serve(listener, move |path| {
        let (node, tls, s3) = (node.clone(), tls.clone(), s3.clone());
        async move { (path == "/metrics").then(|| Answer::metrics(page(&node, tls.as_ref(), &s3))) }
    })
    .await;
}

fn page(node: &Node, tls: Option<&Tls>, s3: &Figures) -> Page {
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
    for (operation, done) in node.requests.all() {
        metric.sample(&[("operation", &format!("{operation:?}"))], done.came.load(Ordering::Relaxed));
    }
    let mut metric = page.metric("redoubt_request_duration_seconds", Kind::Histogram, "How long requests took that want an answer.");
    // What is posted has no end.
    for (operation, done) in node.requests.all().filter(|(operation, _)| *operation != Operation::Dtm) {
        let work = done.work();
        let buckets = work.steps.iter().enumerate().map(|(step, count)| (Work::step_end(step).map(|micros| micros as f64 / 1e6), *count));
        metric.histogram(&[("operation", &format!("{operation:?}"))], buckets, work.micros as f64 / 1e6);
    }
    let mut metric = page.metric("redoubt_request_bytes_total", Kind::Counter, "Bytes of bulk data that went with requests.");
    for (operation, done) in node.requests.all() {
        metric.sample(&[("operation", &format!("{operation:?}"))], done.bytes.load(Ordering::Relaxed));
    }
    let refused = node.requests.refused.load(Ordering::Relaxed);
    page.metric("redoubt_requests_busy_total", Kind::Counter, "Requests refused because too many were under way.").sample(&[], refused);
    for (name, help, count) in [
        ("redoubt_node_events_told_total", "Events of buckets that their targets were told of.", &node.events.told),
        ("redoubt_node_events_failed_total", "Attempts to tell a target of an event that failed.", &node.events.failed),
        ("redoubt_node_events_dropped_total", "Events that nobody will be told of any more.", &node.events.dropped),
    ] {
        page.metric(name, Kind::Counter, help).sample(&[], count.load(Ordering::Relaxed));
    }
    answers(s3, &mut page);
    devices(node, &mut page);
    groups(node, &mut page);
    page.process();
    page
}

/// What the S3 role answered.
fn answers(s3: &Figures, page: &mut Page) {
    let all = s3.all();
    let mut metric = page.metric("redoubt_s3_answers_total", Kind::Counter, "Answers of S3, by operation and status.");
    for (operation, of) in &all {
        for (status, count) in &of.answers {
            metric.sample(&[("operation", operation), ("status", status)], *count);
        }
    }
    let help = "From the head of a request of S3 to the end of its answer.";
    let mut metric = page.metric("redoubt_s3_duration_seconds", Kind::Histogram, help);
    for (operation, of) in &all {
        metric.histogram(&[("operation", operation)], of.times(), of.time.as_secs_f64());
    }
    let mut metric = page.metric("redoubt_s3_received_bytes_total", Kind::Counter, "Bytes of bodies that requests of S3 announced.");
    for (operation, of) in &all {
        metric.sample(&[("operation", operation)], of.bytes_in);
    }
    let mut metric = page.metric("redoubt_s3_sent_bytes_total", Kind::Counter, "Bytes of bodies that were sent in answers of S3.");
    for (operation, of) in &all {
        metric.sample(&[("operation", operation)], of.bytes_out);
    }
}

fn devices(node: &Node, page: &mut Page) {
    let usage = node.usage();
    let figures: [Figure; 9] = [
        ("redoubt_node_device_size_bytes", "Bytes for units of a device.", |usage| usage.bytes),
        ("redoubt_node_device_free_bytes", "Bytes free of them.", |usage| usage.free),
        ("redoubt_node_device_metadata_bytes", "Bytes of metadata of a device.", |usage| usage.meta_bytes),
        ("redoubt_node_device_units", "Units of a device.", |usage| usage.units),
        (
            "redoubt_node_device_transactions_unfinished",
            "Transactions over several groups that are not done, by the replicas of a device.",
            |usage| usage.unfinished,
        ),
        ("redoubt_node_rebuild_bytes_per_second", "Bytes that are rebuilt on a device in a second, of late.", |usage| {
            usage.rebuild.bytes_per_second
        }),
        ("redoubt_node_rebuild_units_waiting", "Units that could not be rebuilt at the last try.", |usage| usage.rebuild.waiting),
        ("redoubt_node_rebuild_units_lost", "Units that cannot be rebuilt.", |usage| usage.rebuild.lost),
        ("redoubt_node_scrub_damaged", "What the last reading of a device found damaged, and is so still.", |usage| usage.scrub.left()),
    ];
    for (name, help, of) in figures {
        let mut metric = page.metric(name, Kind::Gauge, help);
        for usage in &usage {
            metric.sample(&[("device", &usage.device)], of(usage));
        }
    }
    let figures: [Figure; 2] = [
        ("redoubt_node_rebuilt_units_total", "Units rebuilt on a device.", |usage| usage.rebuild.units),
        ("redoubt_node_rebuilt_bytes_total", "Bytes of them.", |usage| usage.rebuild.bytes),
    ];
    for (name, help, of) in figures {
        let mut metric = page.metric(name, Kind::Counter, help);
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
