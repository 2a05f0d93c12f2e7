//! The two configuration files of a node: `node.toml` (storage process) and `ha.toml` (HA daemon).
//!
//! They are checked whole when they are read: whatever is wrong is one error that names the file, the thing and the reason. Who writes
//! them (`redoubt dev`, deployment) uses the same types, so that what is written is what is read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use types::{ClusterId, DeviceId, NodeId};

use crate::tls::Tls;

pub mod topology;

pub use topology::{DeviceConfig, NodeEntry, PoolConfig, TopologyConfig};

/// Most addresses of HA daemons in one file.
pub const HA_ADDRESSES_MAX: usize = 64;
/// Largest configuration file.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Why a configuration cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {reason}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// It is not TOML of this form.
    #[error("{}: {reason}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// What the parser says, with the line.
        reason: String,
    },
    /// A value that cannot be.
    #[error("{}: {problem}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong, in words.
        problem: String,
    },
}

/// `node.toml`: a storage process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// 32 hexadecimal digits.
    #[serde(with = "cluster_id")]
    pub cluster: ClusterId,
    /// The node's name, as in the topology.
    pub node: String,
    /// `host:port` of HA daemons, the local one first.
    pub ha: Vec<String>,
    /// `host:port` at which the process serves the fabric.
    pub fabric: String,
    /// libfabric's provider: `tcp` or `verbs`.
    #[serde(default = "default_provider")]
    pub provider: String,
    /// By what all times are scaled; must be the same as that of the HA daemons.
    #[serde(default = "default_factor", with = "factor")]
    pub factor: Factor,
    /// `host:port` of its page of metrics; without, there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<String>,
    /// The S3 gateway; without, the role is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Config>,
    /// Its certificate for HA; without, it speaks to HA in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// A Unix socket at which the steps are armed at which tests have it fail; only builds with fault points take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault_points: Option<PathBuf>,
    /// Its devices.
    #[serde(default, rename = "device")]
    pub devices: Vec<NodeDevice>,
}

/// The S3 gateway in `node.toml`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// `host:port` at which it serves HTTP.
    pub listen: String,
    /// The region that it says it is in.
    #[serde(default = "default_region")]
    pub region: String,
    /// Name of the key that may do everything.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// The file with the cluster's keys, the same at every node: secrets of accounts and keys of objects are encrypted under the first one.
    /// Without, there are neither accounts nor objects that the cluster encrypts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Whether keys of customers are taken over connections that are not encrypted.
    #[serde(default, skip_serializing_if = "is_off")]
    pub customer_keys_over_http: bool,
    /// With these it serves HTTPS, and nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<S3Tls>,
}

/// The files of the S3 gateway's TLS, in PEM. They are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Tls {
    /// The certificate, and those between it and its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

fn is_off(flag: &bool) -> bool {
    !flag
}

impl std::fmt::Debug for S3Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { listen, region, access_key, secret_key: _, key_file, customer_keys_over_http, tls } = self;
        f.debug_struct("S3Config")
            .field("listen", listen)
            .field("region", region)
            .field("access_key", access_key)
            .field("key_file", key_file)
            .field("customer_keys_over_http", customer_keys_over_http)
            .field("tls", tls)
            .finish_non_exhaustive()
    }
}

impl S3Config {
    fn check(&self) -> Result<(), String> {
        check_address("s3.listen", &self.listen)?;
        let is_word = |text: &str| !text.is_empty() && text.len() <= 128 && text.bytes().all(|byte| byte.is_ascii_graphic());
        for (field, text) in [("region", &self.region), ("access_key", &self.access_key), ("secret_key", &self.secret_key)] {
            if !is_word(text) {
                return Err(format!("s3.{field}: say 1 to 128 printable characters without spaces"));
            }
        }
        Ok(())
    }
}

fn default_region() -> String {
    "us-east-1".into()
}

/// A device in `node.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeDevice {
    /// Its number in the cluster.
    pub id: DeviceId,
    /// The directory that it lives in.
    pub path: PathBuf,
    /// Size for objects, in bytes.
    pub bytes: u64,
}

/// `ha.toml`: an HA daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HaConfig {
    /// 32 hexadecimal digits.
    #[serde(with = "cluster_id")]
    pub cluster: ClusterId,
    /// The node's name, as in the topology.
    pub node: String,
    /// `host:port` to listen on.
    pub listen: String,
    /// Where the daemon keeps its log.
    pub dir: PathBuf,
    /// By what all times are scaled: 1, or 2 on a busy test machine.
    #[serde(default = "default_factor", with = "factor")]
    pub factor: Factor,
    /// `host:port` of its page of metrics; without, there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<String>,
    /// Its certificate, and the CA whose certificates it takes; without, it speaks in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// That it is meant to be without [`HaConfig::tls`] on an address that others reach: whoever does may then do anything to the cluster.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
    /// As in [`NodeConfig::fault_points`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault_points: Option<PathBuf>,
    /// The cluster as declared; it counts when the cluster is created.
    pub topology: TopologyConfig,
}

/// A scale of times in thousandths, from 0.1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factor(u32);

impl Factor {
    /// As it is.
    pub const ONE: Self = Self(1000);

    /// `None` outside 0.1 to 100.
    pub fn new(value: f64) -> Option<Self> {
        // In range by the check, so the cast is exact enough.
        (0.1..=100.0).contains(&value).then(|| Self((value * 1000.0).round() as u32))
    }

    /// The number.
    pub fn get(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

fn default_provider() -> String {
    "tcp".into()
}

fn default_factor() -> Factor {
    Factor::ONE
}

mod factor {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(factor: &super::Factor, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(factor.get())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<super::Factor, D::Error> {
        let value = f64::deserialize(d)?;
        super::Factor::new(value).ok_or_else(|| D::Error::custom(format!("factor is 0.1 to 100, not {value}")))
    }
}

mod cluster_id {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use types::ClusterId;

    pub(super) fn serialize<S: Serializer>(id: &ClusterId, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<ClusterId, D::Error> {
        let text = String::deserialize(d)?;
        let good = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match text.parse() {
            Ok(ClusterId(0)) => Err(D::Error::custom("the cluster id is not zero")),
            Ok(id) if good => Ok(id),
            _ => Err(D::Error::custom(format!("a cluster id is 32 hexadecimal digits, `{text}` is not"))),
        }
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let failed = |reason: String| ConfigError::Read { path: path.into(), reason };
    let length = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?.len();
    if length > FILE_BYTES_MAX {
        return Err(failed(format!("{length} bytes are too many for a configuration")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
    toml::from_str(&text).map_err(|e| ConfigError::Syntax { path: path.into(), reason: e.to_string().trim_end().to_string() })
}

/// `host:port`, with a port that is not 0.
pub(crate) fn check_address(what: &str, address: &str) -> Result<(), String> {
    let problem = || format!("{what}: `{address}` is not an address: say host:port");
    let (host, port) = address.rsplit_once(':').ok_or_else(problem)?;
    let port: u16 = port.parse().map_err(|_| problem())?;
    let host_is_good = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_[]:".contains(&b));
    if port == 0 || !host_is_good || address.len() > 255 { Err(problem()) } else { Ok(()) }
}

/// Whether only this host reaches an address.
pub fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl NodeConfig {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let config: Self = read(path)?;
        config.check().map_err(|problem| ConfigError::Invalid { path: path.into(), problem })?;
        Ok(config)
    }

    /// What is wrong with it, if so.
    pub fn check(&self) -> Result<(), String> {
        if self.node.is_empty() {
            return Err("node: the name is empty".into());
        }
        if self.ha.is_empty() || self.ha.len() > HA_ADDRESSES_MAX {
            return Err(format!("ha: give 1 to {HA_ADDRESSES_MAX} addresses of HA daemons, the local one first"));
        }
        for address in &self.ha {
            check_address("ha", address)?;
        }
        check_address("fabric", &self.fabric)?;
        if let Some(metrics) = &self.metrics {
            check_address("metrics", metrics)?;
        }
        if !["tcp", "verbs"].contains(&self.provider.as_str()) {
            return Err(format!("provider: `{}` is not known: say tcp or verbs", self.provider));
        }
        if let Some(s3) = &self.s3 {
            s3.check()?;
        }
        if let Some(tls) = &self.tls {
            tls.check()?;
        }
        let (mut ids, mut paths) = (BTreeSet::new(), BTreeSet::new());
        for device in &self.devices {
            if device.id.0 == 0 || device.bytes == 0 {
                return Err(format!("{}: devices are numbered from 1 and have a size", device.id));
            }
            if !ids.insert(device.id) {
                return Err(format!("{} is given twice", device.id));
            }
            if !paths.insert(&device.path) {
                return Err(format!("{}: the path {} is that of another device", device.id, device.path.display()));
            }
        }
        Ok(())
    }

    /// The file's text.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration has a text form")
    }
}

impl HaConfig {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let config: Self = read(path)?;
        config.check().map_err(|problem| ConfigError::Invalid { path: path.into(), problem })?;
        Ok(config)
    }

    /// What is wrong with it, if so.
    pub fn check(&self) -> Result<(), String> {
        check_address("listen", &self.listen)?;
        if let Some(metrics) = &self.metrics {
            check_address("metrics", metrics)?;
        }
        if self.dir.as_os_str().is_empty() {
            return Err("dir: say where the daemon keeps its log".into());
        }
        match &self.tls {
            Some(_) if self.insecure => return Err("insecure: say that or [tls], not both".into()),
            Some(tls) => tls.check()?,
            None if self.insecure || is_loopback(&self.listen) => {}
            None => {
                let words = "without [tls] whoever reaches it may do anything to the cluster: give it a certificate (`ha ca`), or say insecure = true";
                return Err(format!("listen: `{}`: {words}", self.listen));
            }
        }
        self.topology.check()?;
        if self.topology.node_named(&self.node).is_none() {
            return Err(format!("node: `{}` is not in the topology", self.node));
        }
        Ok(())
    }

    /// The number of this daemon's node.
    pub fn node_id(&self) -> Option<NodeId> {
        self.topology.node_named(&self.node).map(|n| n.id)
    }

    /// The file's text.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration has a text form")
    }
}

#[cfg(test)]
mod tests;
