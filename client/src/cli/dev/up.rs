//! `redoubt dev up`: creates and starts a local cluster, or starts one that is there again, and waits until it serves.

use std::path::Path;
use std::time::Duration;

use ha_api::config::Factor;
use ha_api::{ClientOptions, HaClient, Status};
use serde_json::{Value, json};
use tokio::time::Instant;
use types::NodeId;
use types::state::ProcessState;

use super::Service;
use super::cluster::{ClusterFile, NodeFile};
use super::down::stop;
use super::lock::Lock;
use super::plan::{DISK_GROUPS, NODES, Wish, create, planned};
use super::process::{self, running};
use crate::cli::exit::{Exit, Failure};
use crate::cli::interrupt::interrupted;
use crate::cli::pool::is_ready;
use crate::cli::{Common, output};

/// How often the cluster is asked whether it serves.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How long it may take to answer that.
const LOOK_DEADLINE: Duration = Duration::from_secs(2);

/// Arguments of `dev up`.
#[derive(clap::Args)]
pub struct Arguments {
    /// How many nodes [default: 3]
    #[arg(long, value_parser = clap::value_parser!(u16).range(3..=36))]
    nodes: Option<u16>,
    /// Disk groups of each node, with one device each [default: 2]
    #[arg(long, value_parser = clap::value_parser!(u16).range(2..=16))]
    disk_groups: Option<u16>,
    /// Size of each device for objects, as 512MiB or 4GiB [default: 2GiB, or less where less is free]
    #[arg(long, value_name = "SIZE", value_parser = crate::cli::size::parse)]
    device_bytes: Option<u64>,
    /// By what HA's times are scaled: 1, or 2 on a busy machine [default: 1]
    #[arg(long, env = "REDOUBT_DEV_FACTOR")]
    factor: Option<f64>,
    /// How long to wait until the cluster serves
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    wait: u64,
}

impl Arguments {
    fn factor(&self) -> Result<Option<Factor>, Failure> {
        let checked = |factor| Factor::new(factor).ok_or_else(|| Failure::usage("a factor is 0.1 to 100"));
        self.factor.map(checked).transpose()
    }

    /// A new cluster as it is asked for.
    fn wish(&self) -> Result<Wish, Failure> {
        Ok(Wish {
            nodes: self.nodes.unwrap_or(NODES),
            disk_groups: self.disk_groups.unwrap_or(DISK_GROUPS),
            device_bytes: self.device_bytes,
            factor: self.factor()?.unwrap_or(Factor::ONE),
        })
    }

    /// An error that names every option that the cluster there contradicts.
    fn agree_with(&self, present: &Wish, dir: &Path) -> Result<(), Failure> {
        let mut wrong = Vec::new();
        let mut check = |option: &str, asked: Option<String>, present: String| {
            if let Some(asked) = asked.filter(|asked| *asked != present) {
                wrong.push(format!("--{option} {asked} (it has {present})"));
            }
        };
        check("nodes", self.nodes.map(|n| n.to_string()), present.nodes.to_string());
        check("disk-groups", self.disk_groups.map(|n| n.to_string()), present.disk_groups.to_string());
        let words = |bytes: u64| format!("{bytes}B");
        check("device-bytes", self.device_bytes.map(words), present.device_bytes.map_or_else(|| "devices of several sizes".into(), words));
        check("factor", self.factor()?.map(|f| f.get().to_string()), present.factor.get().to_string());
        if wrong.is_empty() {
            return Ok(());
        }
        let what = format!(
            "the cluster in {} is there already, and these options contradict it: {}; leave them away, make another one with --dir, or delete that directory with what is in it",
            dir.display(),
            wrong.join(", ")
        );
        Err(Failure::usage(what))
    }
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let began = Instant::now();
    for service in [Service::Ha, Service::Node] {
        process::executable(service)?;
    }
    std::fs::create_dir_all(&common.dir).map_err(|e| Failure::io(common.dir.display(), &e))?;
    let _lock = Lock::take(&common.dir, Duration::ZERO).await?;
    let file = if ClusterFile::path(&common.dir).exists() {
        let file = ClusterFile::read(&common.dir)?;
        arguments.agree_with(&planned(&file)?, &file.dir)?;
        process::adopt(&file)?;
        file
    } else {
        create(&common.dir, &arguments.wish()?)?
    };
    let mut started = Vec::new();
    let serving = async {
        start_all(&file, &mut started).await?;
        wait_until_serving(common, &file, began + Duration::from_secs(arguments.wait)).await
    };
    let outcome = tokio::select! {
        outcome = serving => outcome,
        failure = interrupted() => Err(failure),
    };
    if let Err(failure) = outcome {
        return Err(taken_down(&file, &started, failure).await);
    }
    let mut value = json_of(&file);
    value["seconds"] = began.elapsed().as_secs_f64().into();
    output::value(common.output, &value, || {
        let dir = file.dir.display();
        let pages: Vec<String> = file.nodes.iter().filter_map(|node| Some(format!("http://{}/", node.web.as_ref()?))).collect();
        format!(
            "{} nodes serve after {:.1} s in {dir}\nHA at {}\na page to look at is at {}\nsay `export REDOUBT_DIR={dir}`, then `redoubt obj put FILE NAME`; `redoubt dev down` stops it",
            file.nodes.len(),
            began.elapsed().as_secs_f64(),
            file.ha.join(" "),
            pages.join(" ")
        )
    })
}

/// Starts what does not run, and notes it.
async fn start_all<'a>(file: &'a ClusterFile, started: &mut Vec<(&'a NodeFile, Service)>) -> Result<(), Failure> {
    for (node, service) in file.services() {
        if process::settled(file, node, service).await?.is_none() {
            process::start(file, node, service)?;
            started.push((node, service));
        }
    }
    Ok(())
}

/// Stops what this command has started; gives its failure, with a word on that.
async fn taken_down(file: &ClusterFile, started: &[(&NodeFile, Service)], failure: Failure) -> Failure {
    let processes: Vec<_> = started.iter().rev().filter_map(|(node, service)| running(file, node, *service)).collect();
    let word = match stop(&processes).await {
        Ok(()) if started.is_empty() => "all of it ran before, and still does".to_string(),
        Ok(()) => format!("the {} processes that it had started are stopped again", started.len()),
        Err(error) => format!("not all that it had started is stopped ({}): `redoubt dev down` stops the rest", error.message),
    };
    Failure { message: format!("{}\n{word}", failure.message), ..failure }
}

/// All endpoints of a cluster.
pub fn json_of(file: &ClusterFile) -> Value {
    let pid = |node, service| running(file, node, service).map(|running| running.pid);
    let nodes: Vec<Value> = file
        .nodes
        .iter()
        .map(|node| {
            json!({
                "name": node.name,
                "ha": node.ha,
                "fabric": node.fabric,
                "s3": node.s3.as_ref().map(|address| format!("http://{address}")),
                "web": node.web.as_ref().map(|address| format!("http://{address}/")),
                "metrics": node.metrics.as_ref().map(|address| format!("http://{address}/metrics")),
                "dir": file.node_dir(node),
                "ha_pid": pid(node, Service::Ha),
                "node_pid": pid(node, Service::Node),
            })
        })
        .collect();
    json!({"dir": file.dir, "cluster": file.cluster, "ha": file.ha, "s3": s3_of(file), "nodes": nodes})
}

/// How S3 is spoken to the cluster; every node's gateway will do.
fn s3_of(file: &ClusterFile) -> Value {
    let first = file.nodes.first().and_then(|node| node.s3.as_ref());
    match (first, &file.s3) {
        (Some(address), Some(keys)) => json!({
            "endpoint": format!("http://{address}"),
            "access_key": keys.access_key,
            "secret_key": keys.secret_key,
            "region": keys.region,
        }),
        _ => Value::Null,
    }
}

/// Waits until the process of every node is ONLINE and every group takes writes; an error as soon as a process has ended.
async fn wait_until_serving(common: &Common, file: &ClusterFile, deadline: Instant) -> Result<(), Failure> {
    let options = ClientOptions { name: "redoubt dev up".into(), deadline: LOOK_DEADLINE, tls: common.tls()?, ..ClientOptions::default() };
    let ha = HaClient::with_options(&file.ha, options).map_err(|e| Failure::other(e.to_string()))?;
    loop {
        if let Some((node, service)) = file.services().find(|(node, service)| running(file, node, *service).is_none()) {
            let log = process::log_tail(file, node, service);
            return Err(Failure::other(format!("{} of {} has ended; its log says\n{log}", service.executable(), node.name)));
        }
        let missing = match ha.status().await {
            Ok(status) => match missing(file, &status) {
                Some(words) => words,
                None => match silent_gateway(file).await {
                    Some(node) => format!("the S3 gateway of {} does not answer", node.name),
                    None => return Ok(()),
                },
            },
            Err(error) => error.to_string(),
        };
        if Instant::now() >= deadline {
            let hint = format!("look at the logs in {}/node-*/", file.dir.display());
            return Err(Failure::new(Exit::Unavailable, format!("the cluster does not serve in time: {missing}; {hint}")));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// The first node whose S3 gateway does not listen yet.
async fn silent_gateway(file: &ClusterFile) -> Option<&NodeFile> {
    for node in &file.nodes {
        let Some(address) = &node.s3 else { continue };
        let connected = tokio::time::timeout(LOOK_DEADLINE, tokio::net::TcpStream::connect(address)).await;
        if !matches!(connected, Ok(Ok(_))) {
            return Some(node);
        }
    }
    None
}

/// What is missing before the cluster serves; `None` where nothing is.
///
/// After all of it was killed HA says what was so before, until it has heard of the new processes: only these count.
fn missing(file: &ClusterFile, status: &Status) -> Option<String> {
    let map = &status.map;
    let serves = |node: &&NodeFile| {
        let id = NodeId(node.id);
        let pid = running(file, node, Service::Node).map(|running| running.pid);
        let is_online = map.nodes.get(&id).is_some_and(|node| node.state == ProcessState::Online);
        is_online && pid.is_some() && status.nodes.get(&id).map(|known| known.pid) == pid
    };
    let (online, nodes) = (file.nodes.iter().filter(serves).count(), file.nodes.len());
    if online < nodes {
        return Some(format!("{online} of {nodes} nodes are ONLINE"));
    }
    let ready = map.groups.values().filter(|group| is_ready(map, group)).count();
    if map.groups.is_empty() || ready < map.groups.len() {
        return Some(format!("{ready} of {} groups are ready", map.groups.len()));
    }
    None
}
