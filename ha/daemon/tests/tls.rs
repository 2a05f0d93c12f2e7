//! Mutual TLS of the control plane: who shows no certificate of the cluster's CA is not heard, and a certificate opens what its role may do.

#[allow(dead_code, reason = "shared with tests that use more of it")]
mod support;

use std::path::Path;
use std::time::Duration;

use ha_api::tls::{Role, Tls};
use ha_api::{ClientOptions, Found, HaClient, HaError};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use support::Cluster;
use types::{DeviceId, NodeId};

/// A CA, as `ha ca` makes one.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Files for a holder of that role.
    fn issue(&self, dir: &Path, role: Role) -> Tls {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([role.name()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        std::fs::create_dir_all(dir).expect("a directory");
        let tls = Tls::in_dir(dir);
        for (path, text) in [(&tls.ca, &self.pem), (&tls.certificate, &certificate.pem()), (&tls.key, &key.serialize_pem())] {
            std::fs::write(path, text).expect("a file");
        }
        tls
    }
}

fn client(cluster: &Cluster, tls: Option<Tls>) -> HaClient {
    let options = ClientOptions { deadline: Duration::from_secs(2), tls, ..ClientOptions::default() };
    HaClient::with_options(&[cluster.address(0)], options).expect("an address")
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_shows_a_certificate_of_the_cluster_is_heard_and_only_in_its_role() {
    let dir = tempfile::tempdir().expect("a directory");
    let (authority, another) = (Authority::new(), Authority::new());
    let of = |role: Role| authority.issue(&dir.path().join(role.word()), role);
    // Three daemons, so that the group is made over TLS, too.
    let cluster = Cluster::start_with(3, Some(of(Role::Ha))).await;

    let operator = client(&cluster, Some(of(Role::Operator)));
    support::eventually("the cluster is created", async || operator.status().await.is_ok_and(|status| status.map.nodes.len() == 3)).await;
    for (who, tls) in [("nobody", None), ("a stranger", Some(another.issue(&dir.path().join("another"), Role::Operator)))] {
        let refused = client(&cluster, tls).status().await.expect_err(who);
        assert!(refused.is_retryable(), "{who} gets no answer at all: {refused}");
    }

    let asks = client(&cluster, Some(of(Role::Client)));
    asks.map(types::Epoch(0)).await.expect("a client reads the map");
    let refused = asks.register(NodeId(1), 1, &[]).await.expect_err("a client is no storage process");
    assert!(matches!(&refused, HaError::Refused(why) if why.contains("certificate for node")), "{refused}");
    let blank = [(DeviceId(1), Found::Blank)];
    client(&cluster, Some(of(Role::Node))).register(NodeId(1), std::process::id(), &blank).await.expect("a storage process registers");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_ha_daemon_cannot_pass_for_one_and_new_files_count_without_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let authority = Authority::new();
    let daemons = authority.issue(&dir.path().join("ha"), Role::Ha);
    let cluster = Cluster::start_with(1, Some(daemons.clone())).await;
    let operator = authority.issue(&dir.path().join("operator"), Role::Operator);
    client(&cluster, Some(operator.clone())).status().await.expect("an answer");

    // The files of the daemon are another's now: whoever connects from here on sees that.
    authority.issue(&dir.path().join("ha"), Role::Node);
    let refused = client(&cluster, Some(operator.clone())).status().await.expect_err("it is no HA daemon");
    assert!(refused.is_retryable(), "{refused}");

    authority.issue(&dir.path().join("ha"), Role::Ha);
    client(&cluster, Some(operator)).status().await.expect("an answer again");
    cluster.stop().await;
}
