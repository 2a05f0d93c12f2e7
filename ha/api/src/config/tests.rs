//! Good files are read as they were written; each bad one is one error that says what is wrong.

use super::topology::VOTERS_MAX;
use super::*;
use types::scheme::{FailureDomain, Scheme};
use types::{DiskGroupId, PoolId};

fn ha_config() -> HaConfig {
    let nodes = (1..=3)
        .map(|i| NodeEntry {
            id: NodeId(i),
            name: format!("node-{i}"),
            ha: format!("127.0.0.1:{}", 7000 + i),
            fabric: format!("127.0.0.1:{}", 7100 + i),
            rack: 0,
            storage_set: 0,
        })
        .collect();
    let devices = (1..=6)
        .map(|i| DeviceConfig { id: DeviceId(i), node: format!("node-{}", i.div_ceil(2)), disk_group: DiskGroupId(i), bytes: 1 << 30 })
        .collect();
    let pool = PoolConfig {
        id: PoolId(1),
        name: "meta".into(),
        scheme: Scheme::Replicated { copies: 3 },
        failure_domain: FailureDomain::Node,
        groups: 32,
        priority: 0,
        avoid_node: false,
        devices: Vec::new(),
    };
    HaConfig {
        cluster: ClusterId(7),
        node: "node-2".into(),
        listen: "127.0.0.1:7002".into(),
        dir: "ha".into(),
        factor: Factor::new(2.0).expect("2 is in range"),
        metrics: None,
        tls: None,
        insecure: false,
        fault_points: None,
        topology: TopologyConfig { nodes, devices, pools: vec![pool] },
    }
}

fn node_config() -> NodeConfig {
    NodeConfig {
        cluster: ClusterId(7),
        node: "node-1".into(),
        ha: vec!["127.0.0.1:7001".into()],
        fabric: "127.0.0.1:7101".into(),
        provider: "tcp".into(),
        factor: Factor::ONE,
        s3: Some(S3Config {
            listen: "127.0.0.1:7201".into(),
            region: "us-east-1".into(),
            access_key: "key".into(),
            secret_key: "secret".into(),
            key_file: None,
            customer_keys_over_http: true,
            tls: Some(S3Tls { certificate: "c.pem".into(), key: "k.pem".into() }),
        }),
        metrics: None,
        tls: None,
        fault_points: None,
        devices: vec![NodeDevice { id: DeviceId(1), path: "d1".into(), bytes: 1 << 30 }],
    }
}

/// What loading this text says.
fn load(text: &str) -> Result<HaConfig, String> {
    let config: HaConfig = toml::from_str(text).map_err(|e| e.to_string())?;
    config.check()?;
    Ok(config)
}

#[test]
fn what_is_written_is_what_is_read() {
    assert_eq!(load(&ha_config().to_toml()), Ok(ha_config()));
    let node: NodeConfig = toml::from_str(&node_config().to_toml()).expect("our own text");
    assert_eq!(node, node_config());
    assert_eq!(node.check(), Ok(()));
}

#[test]
fn each_mistake_is_one_clear_error() {
    let cases: [(&str, &str, &str); 9] = [
        ("name = \"node-3\"", "name = \"node-2\"", "node name `node-2` is given twice"),
        ("id = 6\nnode = \"node-3\"", "id = 6\nnode = \"node-9\"", "its node `node-9` is not declared"),
        ("ha = \"127.0.0.1:7003\"", "ha = \"127.0.0.1\"", "is not an address"),
        ("ha = \"127.0.0.1:7003\"", "ha = \"127.0.0.1:7001\"", "address `127.0.0.1:7001` is given twice"),
        ("scheme = \"1+2\"", "scheme = \"1+1\"", "copies are 1, 3, 5 or 7"),
        ("node = \"node-2\"\nlisten", "node = \"node-7\"\nlisten", "`node-7` is not in the topology"),
        ("factor = 2.0", "factor = 0.0", "factor is 0.1 to 100"),
        ("id = 5\nnode", "id = 6\nnode", "device id `dev-6` is given twice"),
        ("cluster = \"00000000000000000000000000000007\"", "cluster = \"7\"", "32 hexadecimal digits"),
    ];
    for (good, bad, says) in cases {
        let text = ha_config().to_toml();
        assert!(text.contains(good), "{good} is not in\n{text}");
        let error = load(&text.replacen(good, bad, 1)).expect_err(bad);
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_device_that_is_given_twice_is_refused() {
    let mut config = node_config();
    config.devices.push(config.devices[0].clone());
    assert_eq!(config.check(), Err("dev-1 is given twice".into()));
    config.devices[1].id = DeviceId(2);
    assert!(config.check().is_err_and(|e| e.contains("is that of another device")));
}

#[test]
fn voters_are_odd_and_spread_over_racks() {
    let mut topology = ha_config().topology;
    assert_eq!(topology.voters().len(), 3);
    for i in 4..=36 {
        let mut node = topology.nodes[0].clone();
        (node.id, node.name, node.rack) = (NodeId(i), format!("node-{i}"), i / 6);
        topology.nodes.push(node);
        let count = topology.voters().len();
        assert!(count % 2 == 1 && count <= VOTERS_MAX);
    }
    let racks: BTreeSet<u16> = topology.voters().iter().filter_map(|id| topology.node(*id)).map(|n| n.rack).collect();
    assert_eq!(racks.len(), 7);
}

#[test]
fn an_s3_secret_is_not_shown_and_bad_words_are_refused() {
    let mut config = node_config();
    assert!(!format!("{config:?}").contains("secret\""));
    config.s3.as_mut().expect("it has one").access_key = "two words".into();
    assert!(config.check().is_err_and(|problem| problem.starts_with("s3.access_key")));
    config.s3.as_mut().expect("it has one").listen = "nowhere".into();
    assert!(config.check().is_err_and(|problem| problem.contains("s3.listen")));
}

#[test]
fn a_port_that_others_reach_is_open_only_where_that_is_said() {
    let mut config = ha_config();
    for local in ["127.0.0.1:7002", "localhost:7002", "[::1]:7002"] {
        config.listen = local.into();
        assert_eq!(config.check(), Ok(()), "{local}");
    }
    for reached in ["10.0.0.2:7002", "0.0.0.0:7002", "node-2:7002", "[fd00::2]:7002"] {
        config.listen = reached.into();
        assert!(config.check().is_err_and(|problem| problem.contains("insecure = true")), "{reached}");
    }
    config.insecure = true;
    assert_eq!(config.check(), Ok(()));
    config.tls = Some(Tls::in_dir(std::path::Path::new("none")));
    assert!(config.check().is_err_and(|problem| problem.contains("not both")));
    config.insecure = false;
    assert!(config.check().is_err_and(|problem| problem.starts_with("tls: ")), "files that are not there");
}
