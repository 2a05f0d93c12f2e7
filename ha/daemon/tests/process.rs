//! The binary itself: it starts, says what is wrong, stops on SIGTERM, and a frozen leader is replaced.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ha_api::config::{Factor, HaConfig, NodeEntry, TopologyConfig};
use ha_api::{ClientOptions, HaClient};
use rustix::process::{Pid, Signal, kill_process};
use types::{ClusterId, Epoch, NodeId};

const FACTOR: f64 = 2.0;
const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon that ends with its test.
struct Daemon(Child);

impl Daemon {
    fn start(config: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_redoubt-ha"));
        Self(command.arg("--config").arg(config).stderr(Stdio::null()).spawn().expect("the binary runs"))
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, signal).expect("it is ours");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn configs(dir: &Path, count: u16) -> Vec<HaConfig> {
    let ports = service::ports::free(count.into()).expect("free ports");
    let nodes = (1..).zip(ports).map(|(i, port)| NodeEntry {
        id: NodeId(i),
        name: format!("node-{i}"),
        ha: format!("127.0.0.1:{port}"),
        fabric: format!("127.0.0.2:{i}"),
        rack: 0,
        storage_set: 0,
    });
    let topology = TopologyConfig { nodes: nodes.collect(), ..TopologyConfig::default() };
    let config = |n: &NodeEntry| HaConfig {
        cluster: ClusterId(5),
        node: n.name.clone(),
        listen: n.ha.clone(),
        dir: dir.join(&n.name),
        factor: Factor::new(FACTOR).expect("in range"),
        metrics: None,
        tls: None,
        insecure: false,
        fault_points: None,
        topology: topology.clone(),
    };
    topology.nodes.iter().map(config).collect()
}

fn written(dir: &Path, config: &HaConfig, text: &str) -> PathBuf {
    let path = dir.join(format!("{}.toml", config.node));
    std::fs::write(&path, text).expect("it can be written");
    path
}

/// What the binary says when it does not start.
fn complaint(config: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redoubt-ha"));
    let mut child = command.arg("--config").arg(config).env("RUST_LOG", "off").stderr(Stdio::piped()).spawn().expect("it runs");
    let mut text = String::new();
    child.stderr.take().expect("it is piped").read_to_string(&mut text).expect("it is text");
    assert!(!child.wait().expect("it ends").success(), "{text}");
    assert_eq!(text.trim_end().lines().filter(|l| l.starts_with("redoubt-ha: ")).count(), 1, "one clear error: {text}");
    text
}

fn client(configs: &[HaConfig]) -> HaClient {
    let addresses: Vec<&str> = configs.iter().map(|c| c.listen.as_str()).collect();
    HaClient::with_options(&addresses, ClientOptions { factor: FACTOR, deadline: PATIENCE, ..ClientOptions::default() }).expect("addresses")
}

#[tokio::test]
async fn it_serves_until_sigterm_and_then_ends_in_order() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = &configs(dir.path(), 1)[0];
    let path = written(dir.path(), config, &config.to_toml());
    let mut daemon = Daemon::start(&path);
    client(std::slice::from_ref(config)).map(Epoch(1)).await.expect("a map");
    let same = complaint(&path);
    assert!(same.contains("in use"), "{same}");
    daemon.signal(Signal::TERM);
    let told = Instant::now();
    let status = tokio::task::spawn_blocking(move || daemon.0.wait()).await.expect("no panic").expect("it ends");
    assert!(status.success() && told.elapsed() < Duration::from_secs(5), "{status} after {:?}", told.elapsed());
}

#[test]
fn what_is_wrong_with_a_configuration_is_said_in_one_line() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = &configs(dir.path(), 2)[0];
    let text = config.to_toml();
    for (good, bad, says) in [
        ("name = \"node-2\"", "name = \"node-1\"", "node name `node-1` is given twice"),
        ("cluster = \"0", "cluster = \"x", "32 hexadecimal digits"),
        ("[topology]", "[typology]", "typology"),
    ] {
        let bad = text.replacen(good, bad, 1);
        assert_ne!(bad, text, "{good} is not in {text}");
        let error = complaint(&written(dir.path(), config, &bad));
        assert!(error.contains(says), "{error}");
    }
    assert!(complaint(&dir.path().join("missing.toml")).contains("missing.toml"));
}

#[tokio::test]
async fn a_frozen_leader_is_replaced_and_follows_when_it_wakes() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let configs = configs(dir.path(), 3);
    let daemons: Vec<Daemon> = configs.iter().map(|c| Daemon::start(&written(dir.path(), c, &c.to_toml()))).collect();
    let all = client(&configs);
    all.map(Epoch(1)).await.expect("a map");
    let leader = all.raft_status().await.expect("an answer").leader.expect("somebody leads");
    let frozen = usize::from(leader.0 - 1);
    let others: Vec<HaConfig> = configs.iter().filter(|c| c.node != configs[frozen].node).cloned().collect();
    let rest = client(&others);
    daemons[frozen].signal(Signal::STOP);
    let stopped = Instant::now();
    let session = rest.open_session().await.expect("the others go on").session;
    assert!(stopped.elapsed() < Duration::from_secs(4), "{:?}", stopped.elapsed());
    daemons[frozen].signal(Signal::CONT);
    let woken = client(std::slice::from_ref(&configs[frozen]));
    woken.renew_session(session).await.expect("it knows who leads now");
    let caught_up = tokio::time::timeout(PATIENCE, async {
        while woken.raft_status().await.expect("an answer").applied_index < session.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    caught_up.await.expect("it applies what it missed");
}
