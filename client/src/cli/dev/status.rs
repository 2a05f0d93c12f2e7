//! `redoubt dev status`: what runs of a local cluster, and what HA says of it.

use std::time::Duration;

use ha_api::{ClientOptions, HaClient};
use serde_json::{Value, json};
use types::NodeId;

use super::Service;
use super::cluster::{ClusterFile, NodeFile};
use super::process::running;
use super::up::json_of;
use crate::cli::exit::Failure;
use crate::cli::{Common, output};

/// How long HA is waited for: a cluster that is down has a status too.
const HA_PATIENCE: Duration = Duration::from_secs(2);

/// Runs the verb.
pub async fn run(common: &Common) -> Result<(), Failure> {
    let file = ClusterFile::read(&common.dir)?;
    let mut value = json_of(&file);
    let mut states: Vec<String> = vec!["-".into(); file.nodes.len()];
    let any_ha = file.nodes.iter().any(|node| running(&file, node, Service::Ha).is_some());
    let options =
        ClientOptions { name: "redoubt dev status".into(), deadline: HA_PATIENCE, tls: common.tls()?, ..ClientOptions::default() };
    let ha = HaClient::with_options(&file.ha, options).map_err(|e| Failure::from(&e))?;
    if any_ha && let Ok(map) = ha.map(types::Epoch(0)).await {
        for (node, state) in file.nodes.iter().zip(&mut states) {
            if let Some(known) = map.nodes.get(&NodeId(node.id)) {
                *state = known.state.to_string();
            }
        }
        value["epoch"] = map.epoch.0.into();
    }
    for (at, state) in states.iter().enumerate() {
        value["nodes"][at]["state"] = if state == "-" { Value::Null } else { json!(state) };
    }
    output::value(common.output, &value, || {
        let mut rows = vec![["NODE", "STATE", "STORAGE", "HA", "FABRIC", "HA ADDRESS"].map(String::from).to_vec()];
        for (node, state) in file.nodes.iter().zip(&states) {
            rows.push(vec![
                node.name.clone(),
                state.clone(),
                words(&file, node, Service::Node),
                words(&file, node, Service::Ha),
                node.fabric.clone(),
                node.ha.clone(),
            ]);
        }
        output::table(&rows)
    })
}

fn words(file: &ClusterFile, node: &NodeFile, service: Service) -> String {
    match running(file, node, service) {
        Some(process) if process.is_stopped => format!("{} (frozen)", process.pid),
        Some(process) => process.pid.to_string(),
        None => "down".into(),
    }
}
