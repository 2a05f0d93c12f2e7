//! How benches are shown: one table and one JSON value, the machine's limits beside the cluster's figures.

use serde_json::{Value, json};

use super::load::Load;
use super::machine::Limits;
use crate::cli::output;

/// One line of a bench.
pub struct Figure {
    /// What was done.
    pub what: String,
    /// Clients at once.
    pub clients: usize,
    /// Bytes of one operation.
    pub bytes: u64,
    /// What it came to.
    pub load: Load,
}

impl Figure {
    fn mb(&self) -> f64 {
        self.load.operations as f64 * self.bytes as f64 / 1e6
    }

    /// MB a second.
    pub fn mb_s(&self) -> f64 {
        self.mb() / self.load.seconds.max(1e-9)
    }

    fn mb_per_cpu_second(&self) -> Option<f64> {
        Some(self.mb() / self.load.server_cpu_seconds.filter(|s| *s > 0.0)?)
    }

    /// The figure in JSON.
    pub fn json(&self) -> Value {
        json!({
            "what": self.what,
            "clients": self.clients,
            "bytes": self.bytes,
            "operations": self.load.operations,
            "seconds": self.load.seconds,
            "operations_per_second": self.load.rate(),
            "mb_per_second": self.mb_s(),
            "p50_ms": self.load.percentile(0.5),
            "p99_ms": self.load.percentile(0.99),
            "max_ms": self.load.percentile(1.0),
            "server_cpu_us_per_operation": self.load.server_cpu_us(),
            "mb_per_server_cpu_second": self.mb_per_cpu_second(),
            "client_cpu_us_per_operation": self.load.client_cpu_seconds * 1e6 / self.load.operations.max(1) as f64,
        })
    }
}

/// The table for people.
pub fn table(figures: &[Figure]) -> String {
    let heading = ["", "CLIENTS", "SIZE", "OP/S", "MB/S", "P50 MS", "P99 MS", "MAX MS", "SERVER CPU US/OP", "MB/SERVER CPU S"];
    let mut rows = vec![heading.map(String::from).to_vec()];
    let or_dash = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.0}"));
    for figure in figures {
        rows.push(vec![
            figure.what.clone(),
            figure.clients.to_string(),
            output::bytes_words(figure.bytes),
            format!("{:.0}", figure.load.rate()),
            format!("{:.1}", figure.mb_s()),
            format!("{:.2}", figure.load.percentile(0.5)),
            format!("{:.2}", figure.load.percentile(0.99)),
            format!("{:.2}", figure.load.percentile(1.0)),
            or_dash(figure.load.server_cpu_us()),
            or_dash(figure.mb_per_cpu_second()),
        ]);
    }
    output::table(&rows)
}

/// The machine's limits, for people.
pub fn limits(limits: &Limits) -> String {
    format!(
        "this machine: device write {:.0} MB/s, read {:.0} MB/s, 4 KiB write + fdatasync {:.2} ms; loopback {:.0} MB/s; memory copy {:.0} MB/s; crc32c {:.0} MB/s; encode 4+2 {:.0} MB/s",
        limits.device_write_mb_s,
        limits.device_read_mb_s,
        limits.fdatasync_ms,
        limits.loopback_mb_s,
        limits.memcpy_mb_s,
        limits.crc32c_mb_s,
        limits.encode_mb_s
    )
}
