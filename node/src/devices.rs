//! The devices of the process at its start: opened and locked before it registers, formatted where HA says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use ha_api::config::{NodeConfig, NodeDevice};
use ha_api::{Found, Verdict};
use storage::{Device, FormatOptions, OpenOptions, StorageError};
use types::{DeviceId, Incarnation};

use crate::error::NodeError;
use crate::view::{SessionState, Views};

/// What was found on the configured devices.
pub struct FoundDevices {
    /// What HA is told.
    pub found: Vec<(DeviceId, Found)>,
    /// Those that opened.
    pub open: BTreeMap<DeviceId, Device>,
}

/// A device that is in use, with its format.
pub type InUse = (Device, Incarnation);

/// What became of the devices.
#[derive(Default)]
pub struct Settled {
    /// Those that are in use.
    pub in_use: BTreeMap<DeviceId, InUse>,
    /// Those that could not be formatted, or do not open then: in which incarnation, and why.
    pub failed: Vec<(DeviceId, Incarnation, String)>,
}

fn options(config: &NodeConfig, device: &NodeDevice, views: &Arc<Views>) -> OpenOptions {
    let (views, to_fill) = (views.clone(), views.clone());
    let mut options = OpenOptions::new(config.cluster, device.id);
    options.closed = Arc::new(move |session| views.now().session(session) == SessionState::Closed);
    let (views, device) = (to_fill, device.id);
    options.filling = Arc::new(move |group| views.now().is_filling(group, device));
    options
}

/// Opens every configured device. One that does not open is told to HA and left alone; one that another process works on ends this one.
pub fn open_all(config: &NodeConfig, views: &Arc<Views>) -> Result<FoundDevices, NodeError> {
    let mut all = FoundDevices { found: Vec::new(), open: BTreeMap::new() };
    for device in &config.devices {
        let found = match Device::open(&device.path, &options(config, device, views)) {
            Ok(opened) => {
                let identity = opened.identity();
                let found = Found::Formatted { uuid: identity.uuid, incarnation: identity.incarnation };
                all.open.insert(device.id, opened);
                found
            }
            Err(StorageError::NotFormatted(_)) => Found::Blank,
            Err(error @ StorageError::InUse(_)) => {
                return Err(NodeError::Device { device: device.id, path: device.path.display().to_string(), error });
            }
            Err(error) => {
                tracing::error!(device = %device.id, path = %device.path.display(), %error, "the device does not open and is left alone");
                match error {
                    StorageError::WrongCluster { .. } => Found::OtherCluster,
                    StorageError::WrongDevice { .. } => Found::OtherDevice,
                    StorageError::NewerFormat { .. } | StorageError::UnknownFeatures(_) => Found::Newer,
                    _ => Found::Unusable,
                }
            }
        };
        all.found.push((device.id, found));
    }
    Ok(all)
}

/// Does with each device what HA says. One that fails of it is left alone; only where none is left is that the end of the process.
pub fn settle(
    config: &NodeConfig,
    mut open: BTreeMap<DeviceId, Device>,
    verdicts: &BTreeMap<DeviceId, Verdict>,
    views: &Arc<Views>,
) -> Result<Settled, NodeError> {
    let mut settled = Settled::default();
    let mut first = None;
    for device in &config.devices {
        match verdicts.get(&device.id) {
            Some(Verdict::Use(incarnation)) => {
                if let Some(opened) = open.remove(&device.id) {
                    settled.in_use.insert(device.id, (opened, *incarnation));
                }
            }
            Some(Verdict::Format(incarnation)) => {
                open.remove(&device.id);
                let path = || device.path.display().to_string();
                match format(config, device, *incarnation, views) {
                    Ok(opened) => {
                        tracing::info!(device = %device.id, %incarnation, bytes = device.bytes, "formatted");
                        settled.in_use.insert(device.id, (opened, *incarnation));
                    }
                    Err(error) => {
                        tracing::error!(device = %device.id, path = path(), %error, "the device cannot be formatted and is left alone");
                        settled.failed.push((device.id, *incarnation, error.to_string()));
                        first.get_or_insert(NodeError::Device { device: device.id, path: path(), error });
                    }
                }
            }
            Some(Verdict::Refuse(reason)) => tracing::warn!(device = %device.id, reason, "HA does not let the device be used"),
            None => tracing::warn!(device = %device.id, "the device is not in the cluster's topology"),
        }
    }
    match first {
        Some(error) if settled.in_use.is_empty() => Err(error),
        _ => Ok(settled),
    }
}

fn format(config: &NodeConfig, device: &NodeDevice, incarnation: Incarnation, views: &Arc<Views>) -> Result<Device, StorageError> {
    Device::format(&device.path, &FormatOptions::new(config.cluster, device.id, incarnation, device.bytes))?;
    Device::open(&device.path, &options(config, device, views))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use types::ClusterId;

    use super::*;

    const BYTES: u64 = 8 * 1024 * 1024;

    fn config(paths: &[PathBuf]) -> NodeConfig {
        let mut config: NodeConfig =
            toml::from_str(&format!("cluster = \"{:032x}\"\nnode = \"node-1\"\nha = []\nfabric = \"127.0.0.1:1\"\n", ClusterId(7).0))
                .expect("a configuration");
        config.devices = (1..).zip(paths).map(|(id, path)| NodeDevice { id: DeviceId(id), path: path.clone(), bytes: BYTES }).collect();
        config
    }

    #[test]
    fn a_device_that_cannot_be_formatted_fails_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let (good, bad) = (dir.path().join("good"), dir.path().join("a-file"));
        std::fs::write(&bad, b"not a directory").expect("a file");
        let verdicts: BTreeMap<DeviceId, Verdict> = (1..=2).map(|id| (DeviceId(id), Verdict::Format(Incarnation(9)))).collect();
        let settle = |paths: &[PathBuf]| settle(&config(paths), BTreeMap::new(), &verdicts, &Arc::default());
        let settled = settle(&[bad.clone(), good]).expect("one is left");
        assert_eq!(settled.in_use.keys().copied().collect::<Vec<_>>(), [DeviceId(2)]);
        let [(device, incarnation, reason)] = &settled.failed[..] else { panic!("{:?}", settled.failed) };
        assert_eq!((*device, *incarnation), (DeviceId(1), Incarnation(9)));
        assert!(reason.contains("a-file"), "{reason}");
        assert!(matches!(settle(&[bad]), Err(NodeError::Device { device: DeviceId(1), .. })), "none is left");
    }
}
