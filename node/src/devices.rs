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

fn options(config: &NodeConfig, device: &NodeDevice, views: &Arc<Views>) -> OpenOptions {
    let views = views.clone();
    let mut options = OpenOptions::new(config.cluster, device.id);
    options.closed = Arc::new(move |session| views.now().session(session) == SessionState::Closed);
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

/// Does with each device what HA says.
pub fn settle(
    config: &NodeConfig,
    mut open: BTreeMap<DeviceId, Device>,
    verdicts: &BTreeMap<DeviceId, Verdict>,
    views: &Arc<Views>,
) -> Result<BTreeMap<DeviceId, InUse>, NodeError> {
    let mut in_use = BTreeMap::new();
    for device in &config.devices {
        let failed = |error| NodeError::Device { device: device.id, path: device.path.display().to_string(), error };
        match verdicts.get(&device.id) {
            Some(Verdict::Use(incarnation)) => {
                if let Some(opened) = open.remove(&device.id) {
                    in_use.insert(device.id, (opened, *incarnation));
                }
            }
            Some(Verdict::Format(incarnation)) => {
                open.remove(&device.id);
                let format = FormatOptions::new(config.cluster, device.id, *incarnation, device.bytes);
                Device::format(&device.path, &format).map_err(failed)?;
                let opened = Device::open(&device.path, &options(config, device, views)).map_err(failed)?;
                tracing::info!(device = %device.id, %incarnation, bytes = device.bytes, "formatted");
                in_use.insert(device.id, (opened, *incarnation));
            }
            Some(Verdict::Refuse(reason)) => tracing::warn!(device = %device.id, reason, "HA does not let the device be used"),
            None => tracing::warn!(device = %device.id, "the device is not in the cluster's topology"),
        }
    }
    Ok(in_use)
}
