//! HA speaks TLS: who shows no certificate of the cluster is not answered, and a certificate opens what its role may do.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use cluster_tests::process::{Cluster, Pattern, Run};

use crate::utf8;

/// What says which certificate is shown.
const TLS: &str = "REDOUBT_TLS";
const ONLINE: Duration = Duration::from_secs(40);

/// A certificate of an authority in the cluster's directory, in a directory of its own, whose path is given. One that was there is replaced.
fn issue(cluster: &Cluster, authority: &str, role: &str, name: &str) -> Result<String> {
    let out = cluster.dir.join("certificates").join(format!("{authority}-{role}-{name}"));
    let authority = cluster.dir.join(authority);
    cluster.run_within("ha", &["ca", "create", "--authority", utf8(&authority)], 20)?.success()?;
    let of = ["ca", "issue", "--authority", utf8(&authority), "--role", role, "--name", name, "--out", utf8(&out), "--replace"];
    cluster.run_within("ha", &of, 20)?.success()?;
    Ok(utf8(&out).into())
}

/// Certificates for all daemons and storage processes of a local cluster.
fn issue_all(cluster: &Cluster) -> Result<Vec<(String, &'static str, String)>> {
    let mut issued = Vec::new();
    for node in ["node-1", "node-2", "node-3"] {
        for role in ["ha", "node"] {
            issued.push((node.to_string(), role, issue(cluster, "authority", role, node)?));
        }
    }
    Ok(issued)
}

/// A local cluster that speaks TLS, made as an operator would by hand; what is run on it shows an operator's certificate.
fn with_certificates() -> Result<Cluster> {
    let mut cluster = Cluster::up(3, &[])?;
    cluster.ok(&["dev", "down"])?;
    for (node, role, of) in issue_all(&cluster)? {
        let path = cluster.dir.join(node).join(format!("{role}.toml"));
        let files = format!("\n[tls]\nca = \"{of}/ca.pem\"\ncertificate = \"{of}/certificate.pem\"\nkey = \"{of}/key.pem\"\n");
        fs::write(&path, fs::read_to_string(&path)? + &files)?;
    }
    let operator = issue(&cluster, "authority", "operator", "alice")?;
    cluster.set_env(TLS, Some(&operator));
    cluster.ok(&["dev", "up"])?;
    Ok(cluster)
}

/// Runs a program with another certificate, or with none.
fn run_as(cluster: &mut Cluster, tls: Option<&str>, program: &str, args: &[&str]) -> Result<Run> {
    let own = cluster.env().iter().find(|(key, _)| *key == TLS).map(|(_, value)| value.clone());
    cluster.set_env(TLS, tls);
    let run = cluster.run_within(program, args, 30);
    cluster.set_env(TLS, own.as_deref());
    run
}

fn is_refused(run: &Run, code: i32, says: &str) -> Result<()> {
    let is_one_line = run.err.trim().lines().count() == 1;
    ensure!(run.code == code && run.err.contains(says) && is_one_line, "`{}` ended with {}: {}", run.command, run.code, run.err);
    Ok(())
}

#[test]
fn a_cluster_with_certificates_serves_who_has_one_in_its_role_and_takes_new_ones_without_a_restart() -> Result<()> {
    let mut cluster = with_certificates()?;
    let (source, got) = (cluster.dir.join("source"), cluster.dir.join("got"));
    Pattern(3).write(&source, 3 << 20)?;
    cluster.ok(&["obj", "put", utf8(&source), "first"])?;

    // A client has its data, and is no operator.
    let client = issue(&cluster, "authority", "client", "bob")?;
    run_as(&mut cluster, Some(&client), "redoubt", &["obj", "get", "first", utf8(&got)])?.success()?;
    ensure!(fs::read(&source)? == fs::read(&got)?, "what was put");
    run_as(&mut cluster, Some(&client), "ha", &["status"])?.success()?;
    let of_operators = "certificate for operator";
    is_refused(&run_as(&mut cluster, Some(&client), "ha", &["device", "replace", "dev-1"])?, 1, of_operators)?;
    is_refused(&run_as(&mut cluster, Some(&client), "redoubt", &["s3", "user", "list"])?, 1, of_operators)?;
    cluster.ok(&["s3", "user", "list"])?;

    // Who shows none, or another authority's, is not answered; a file that is not there is the caller's error.
    let status = ["status", "--timeout", "2"];
    is_refused(&run_as(&mut cluster, None, "ha", &status)?, 5, "wants a certificate")?;
    let stranger = issue(&cluster, "another", "operator", "mallory")?;
    is_refused(&run_as(&mut cluster, Some(&stranger), "ha", &status)?, 5, "wants a certificate")?;
    is_refused(&run_as(&mut cluster, Some("/nowhere"), "ha", &status)?, 2, "/nowhere/")?;

    // New files count for the connections that are made from then on, as after a loss: no process that lives is restarted.
    issue_all(&cluster)?;
    let leader = cluster.leader(Duration::from_secs(10))?;
    cluster.kill(&leader)?;
    cluster.ok(&["obj", "put", utf8(&source), "second"])?;
    cluster.start(&leader)?;
    cluster.all_online(ONLINE)?;
    cluster.ok(&["obj", "get", "second", utf8(&got)])?;
    ensure!(fs::read(&source)? == fs::read(&got)?, "what was put");
    Ok(())
}
