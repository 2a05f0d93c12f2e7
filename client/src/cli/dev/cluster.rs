//! `cluster.json`: what a local cluster consists of and where everything of it is. Written once, read by every command.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Service;
use crate::cli::exit::{Exit, Failure};

/// Version of the file.
pub const FILE_VERSION: u32 = 1;
/// Its name in the cluster's directory.
const FILE_NAME: &str = "cluster.json";

/// The file with the key that secrets of S3 are encrypted under, in the cluster's directory.
pub const KEY_FILE: &str = "s3.key";

/// A local cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFile {
    /// Version of this file.
    pub version: u32,
    /// The cluster's id, 32 hexadecimal digits.
    pub cluster: String,
    /// `host:port` of all HA daemons.
    pub ha: Vec<String>,
    /// With which keys its S3 gateways are used; none in a cluster that was made before there were any.
    #[serde(default)]
    pub s3: Option<S3Keys>,
    /// The nodes.
    pub nodes: Vec<NodeFile>,
    /// The greatest number of a node that was removed: numbers are used once.
    #[serde(default)]
    pub last_removed: u16,
    /// Where the cluster lives; not in the file, for it may be moved.
    #[serde(skip)]
    pub dir: PathBuf,
}

/// The key of the S3 gateways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct S3Keys {
    /// The region that they say they are in.
    pub region: String,
    /// The key's name.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
}

impl S3Keys {
    /// New ones. They open a cluster that serves this machine alone.
    pub fn drawn() -> Self {
        let letters =
            |alphabet: &[u8], count: usize| (0..count).map(|_| char::from(alphabet[rand::random_range(0..alphabet.len())])).collect();
        Self {
            region: "us-east-1".into(),
            access_key: letters(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 20),
            secret_key: letters(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", 40),
        }
    }
}

/// A node of a local cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFile {
    /// Its number.
    pub id: u16,
    /// Its name.
    pub name: String,
    /// `host:port` of its HA daemon.
    pub ha: String,
    /// `host:port` of its storage process.
    pub fabric: String,
    /// `host:port` of its S3 gateway.
    #[serde(default)]
    pub s3: Option<String>,
    /// `host:port` of its page, and of the metrics of its HA daemon; none in a cluster that was made before there was one.
    #[serde(default)]
    pub web: Option<String>,
    /// `host:port` of the metrics of its storage process, likewise.
    #[serde(default)]
    pub metrics: Option<String>,
}

/// Writes a file with secrets in it: for its owner's eyes.
pub fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|e| Failure::io(path.display(), &e))
}

impl ClusterFile {
    /// Where the file is.
    pub fn path(dir: &Path) -> PathBuf {
        dir.join(FILE_NAME)
    }

    /// The cluster of that directory.
    pub fn read(dir: &Path) -> Result<Self, Failure> {
        let path = Self::path(dir);
        let text = std::fs::read_to_string(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Failure::new(
                Exit::NotFound,
                format!(
                    "no cluster in {}: `redoubt dev up` makes one, --dir or REDOUBT_DIR names another, --ha one elsewhere",
                    dir.display()
                ),
            ),
            _ => Failure::io(path.display(), &e),
        })?;
        let mut file: Self =
            serde_json::from_str(&text).map_err(|e| Failure::other(format!("{}: {e}; it is not of this software", path.display())))?;
        if file.version != FILE_VERSION {
            return Err(Failure::other(format!("{}: version {}, this software knows {FILE_VERSION}", path.display(), file.version)));
        }
        file.dir = std::path::absolute(dir).map_err(|e| Failure::io(dir.display(), &e))?;
        Ok(file)
    }

    /// Writes the file: all of it or none.
    pub fn write(&self) -> Result<(), Failure> {
        let path = Self::path(&self.dir);
        let beside = path.with_extension("json.new");
        let text = serde_json::to_string_pretty(self).map_err(|e| Failure::other(e.to_string()))?;
        write_private(&beside, &(text + "\n"))?;
        std::fs::rename(&beside, &path).map_err(|e| Failure::io(path.display(), &e))
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Result<&NodeFile, Failure> {
        self.nodes.iter().find(|node| node.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
            Failure::new(Exit::NotFound, format!("there is no node `{name}`; there are {}", names.join(", ")))
        })
    }

    /// The directory of a node.
    pub fn node_dir(&self, node: &NodeFile) -> PathBuf {
        self.dir.join(&node.name)
    }

    /// The configuration of a process.
    pub fn config(&self, node: &NodeFile, service: Service) -> PathBuf {
        self.node_dir(node).join(service.config_name())
    }

    /// Every process of the cluster: HA daemons first.
    pub fn services(&self) -> impl Iterator<Item = (&NodeFile, Service)> {
        [Service::Ha, Service::Node].into_iter().flat_map(|service| self.nodes.iter().map(move |node| (node, service)))
    }
}
