//! S3 over TLS, from a client that looks at certificates: keys of customers come this way only, and a certificate is replaced while it serves. And
//! the cluster's key is replaced.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use cluster_tests::process::{Cluster, Pattern, first_difference};

use crate::s3::{S3, client, http};
use crate::utf8;

/// A key of a customer's.
const KEY: &str = "0123456789abcdef0123456789abcdef";
/// The same as headers have it, and its MD5.
const KEY_BASE64: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const KEY_MD5: &str = "hRasmdxgYDKV3nvbahU1MA==";
/// What says in a node's configuration that such keys are taken without TLS.
const OVER_HTTP: &str = "customer_keys_over_http = true\n";

/// Puts a new certificate in the place of the one that a gateway has, and gives the path of what a client has to trust.
fn replace(dir: &Path, name: &str) -> Result<PathBuf> {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let trusted = dir.join(format!("{name}.pem"));
    fs::write(&trusted, made.cert.pem())?;
    fs::write(dir.join("key.pem"), made.signing_key.serialize_pem())?;
    fs::write(dir.join("certificate.pem"), made.cert.pem())?;
    Ok(trusted)
}

/// The gateway of the first node speaks TLS; no gateway takes keys of customers without.
fn configure(cluster: &Cluster) -> Result<()> {
    for node in cluster.nodes()? {
        let path = cluster.dir.join(&node).join("node.toml");
        let text = fs::read_to_string(&path)?;
        ensure!(text.contains(OVER_HTTP), "a local cluster takes them");
        let (certificate, key) = (cluster.dir.join("certificate.pem"), cluster.dir.join("key.pem"));
        let files = format!("\n[s3.tls]\ncertificate = \"{}\"\nkey = \"{}\"\n", utf8(&certificate), utf8(&key));
        fs::write(&path, text.replace(OVER_HTTP, "") + if node == "node-1" { &files } else { "" })?;
    }
    Ok(())
}

#[test]
fn the_clusters_key_is_replaced_and_what_it_encrypted_stays() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let s3 = S3::of(&cluster)?;
    let config = s3.rclone(&cluster.dir)?;
    let rclone = |args: &[&str]| client("rclone", &config, &[&["--s3-server-side-encryption", "AES256"], args].concat())?.success();
    let (source, back) = (cluster.dir.join("source"), cluster.dir.join("back"));
    Pattern(5).write(&source, 200_003)?;
    rclone(&["mkdir", "n0:photos"])?;
    rclone(&["copyto", utf8(&source), "n0:photos/before"])?;
    let path = cluster.dir.join("s3.key");
    let old = fs::read_to_string(&path)?;
    let restart_with = |keys: &str| {
        cluster.ok(&["dev", "down"])?;
        fs::write(&path, keys)?;
        cluster.ok(&["dev", "up"])
    };
    let new = "0f".repeat(32);
    restart_with(&format!("{new}\n{old}"))?;
    rclone(&["copyto", utf8(&source), "n1:photos/after"])?;
    for name in ["n2:photos/before", "n2:photos/after"] {
        rclone(&["copyto", name, utf8(&back)])?;
        ensure!(first_difference(&source, &back)?.is_none(), "{name} came back different");
    }
    restart_with(&format!("{new}\n"))?;
    rclone(&["copyto", "n0:photos/after", utf8(&back)])?;
    let lost = rclone(&["--retries", "1", "--low-level-retries", "1", "copyto", "n0:photos/before", utf8(&back)]);
    ensure!(lost.is_err(), "without its key it is not read");
    Ok(())
}

#[test]
fn a_gateway_speaks_tls_takes_keys_of_customers_and_a_new_certificate_without_a_restart() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let s3 = S3::of(&cluster)?;
    let first = replace(&cluster.dir, "first")?;
    configure(&cluster)?;
    cluster.ok(&["dev", "down"])?;
    cluster.ok(&["dev", "up"])?;

    let config = s3.rclone(&cluster.dir)?;
    let text = fs::read_to_string(&config)?.replacen("http://", "https://", 1);
    fs::write(
        &config,
        text.replace("force_path_style", &format!("sse_customer_algorithm = AES256\nsse_customer_key = {KEY}\nforce_path_style")),
    )?;
    let rclone = |trusted: &Path, args: &[&str]| {
        let all = [&["--retries", "1", "--low-level-retries", "1", "--ca-cert", utf8(trusted)], args].concat();
        client("rclone", &config, &all)?.success()
    };
    let (source, back) = (cluster.dir.join("source"), cluster.dir.join("back"));
    Pattern(4).write(&source, 3_000_001)?;
    rclone(&first, &["mkdir", "n0:photos"])?;
    rclone(&first, &["copyto", utf8(&source), "n0:photos/one"])?;
    rclone(&first, &["copyto", "n0:photos/one", utf8(&back)])?;
    ensure!(first_difference(&source, &back)?.is_none(), "it came back different");
    let words = "x-amz-server-side-encryption-customer";
    let head = format!("{words}-algorithm: AES256\r\n{words}-key: {KEY_BASE64}\r\n{words}-key-md5: {KEY_MD5}\r\n");
    let request = format!("GET /photos/one HTTP/1.1\r\nHost: x\r\n{head}Connection: close\r\n\r\n");
    let in_the_clear = http(s3.host(1), &request)?;
    ensure!(in_the_clear.starts_with("HTTP/1.1 400") && in_the_clear.contains("secure connection"), "{in_the_clear}");
    let unencrypted = http(s3.host(0), "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    ensure!(!unencrypted.contains("HTTP"), "it is answered without TLS: {unencrypted}");
    let stored = cluster.redoubt(&["obj", "get", "--bucket", "photos", "one", "-"])?;
    ensure!(stored.code != 0 && stored.err.contains("encrypted"), "{}", stored.err);

    let second = replace(&cluster.dir, "second")?;
    ensure!(rclone(&first, &["lsf", "n0:photos"]).is_err(), "the certificate before is not the one that is shown");
    ensure!(rclone(&second, &["lsf", "n0:photos"])?.contains("one"));
    Ok(())
}
