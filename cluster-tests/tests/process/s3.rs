//! S3 from real clients: rclone and s3cmd, as their users use them, through any node, with a node killed.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster_tests::process::{Cluster, Pattern, Run, compare_trees, first_difference, run};
use serde_json::Value;

use crate::utf8;

/// How long one command of a client may take: many times what it does.
const COMMAND: Duration = Duration::from_secs(120);
/// Longest wait for an answer on a socket.
const ANSWER: Duration = Duration::from_secs(10);
/// Files of the tree beside those with odd names.
const FILES: u64 = 100;

/// S3 of a cluster, as a client is told of it.
pub(crate) struct S3 {
    pub(crate) endpoints: Vec<String>,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
}

impl S3 {
    pub(crate) fn of(cluster: &Cluster) -> Result<Self> {
        let status = cluster.json(&["dev", "status"])?;
        let text = |value: &Value| value.as_str().map(String::from).context("a text");
        let nodes = status["nodes"].as_array().context("nodes")?;
        let endpoints = nodes.iter().map(|node| text(&node["s3"])).collect::<Result<Vec<_>>>()?;
        ensure!(status["s3"]["endpoint"] == endpoints[0].as_str(), "the first node's gateway is that of the cluster");
        Ok(Self { endpoints, access_key: text(&status["s3"]["access_key"])?, secret_key: text(&status["s3"]["secret_key"])? })
    }

    pub(crate) fn host(&self, node: usize) -> &str {
        self.endpoints[node].trim_start_matches("http://")
    }

    /// A configuration of rclone with a remote for each node: `n0`, `n1`, `n2`.
    pub(crate) fn rclone(&self, dir: &Path) -> Result<PathBuf> {
        let remote = |(node, endpoint): (usize, &String)| {
            let Self { access_key, secret_key, .. } = self;
            format!(
                "[n{node}]\ntype = s3\nprovider = Other\naccess_key_id = {access_key}\nsecret_access_key = {secret_key}\n\
                 endpoint = {endpoint}\nregion = us-east-1\nforce_path_style = true\n"
            )
        };
        let path = dir.join("rclone.conf");
        fs::write(&path, self.endpoints.iter().enumerate().map(remote).collect::<String>())?;
        Ok(path)
    }

    pub(crate) fn s3cmd(&self, dir: &Path, secret_key: &str) -> Result<PathBuf> {
        let host = self.host(0);
        let path = dir.join(format!("s3cfg-{}", secret_key.len()));
        let access_key = &self.access_key;
        let text = format!(
            "[default]\naccess_key = {access_key}\nsecret_key = {secret_key}\nhost_base = {host}\nhost_bucket = {host}\n\
             use_https = False\nbucket_location = us-east-1\n"
        );
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// Runs a client of the machine, with nothing of its surroundings that could lead it elsewhere.
pub(crate) fn client(program: &str, config: &Path, args: &[&str]) -> Result<Run> {
    let all: Vec<&str> = ["--config", utf8(config)].iter().chain(args).copied().collect();
    run(Path::new(program), &all, &[("AWS_CA_BUNDLE", &""), ("HTTP_PROXY", &""), ("http_proxy", &"")], COMMAND)
}

/// Files of many sizes, inline and in stripes, under names that have to be encoded.
fn tree(dir: &Path) -> Result<PathBuf> {
    let root = dir.join("tree");
    fs::create_dir_all(root.join("deep/er/est"))?;
    fs::create_dir_all(root.join("a b/c+d"))?;
    for number in 0..FILES {
        Pattern(number).write(&root.join(format!("deep/file-{number}")), number * number * 211)?;
    }
    Pattern(200).write(&root.join("deep/er/est/large"), 5_000_017)?;
    for (number, name) in ["empty", "a b/c+d/\u{e9} %&?=.txt", "a b/\u{1f600}"].iter().enumerate() {
        Pattern(300).write(&root.join(name), number as u64)?;
    }
    Ok(root)
}

#[test]
fn rclone_syncs_a_tree_both_ways_through_any_node_and_past_a_killed_one() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let s3 = S3::of(&cluster)?;
    let config = s3.rclone(&cluster.dir)?;
    let rclone = |args: &[&str]| client("rclone", &config, args)?.success();
    let root = tree(&cluster.dir)?;
    rclone(&["sync", utf8(&root), "n0:mirror"])?;
    rclone(&["check", utf8(&root), "n1:mirror"])?;
    rclone(&["check", "--download", utf8(&root), "n2:mirror"])?;
    // What is gone here goes there, and is gone for everybody at once.
    fs::remove_file(root.join("deep/file-7"))?;
    Pattern(900).write(&root.join("deep/file-8"), 70_000)?;
    rclone(&["sync", utf8(&root), "n1:mirror"])?;
    rclone(&["check", "--download", utf8(&root), "n0:mirror"])?;
    cluster.kill("node-1")?;
    let back = cluster.dir.join("back");
    rclone(&["sync", "n1:mirror", utf8(&back)])?;
    let (files, _) = compare_trees(&root, &back)?;
    ensure!(files as u64 == FILES - 1 + 4, "{files} files came back");
    cluster.start("node-1")
}

#[test]
fn s3cmd_makes_a_bucket_uses_it_and_removes_it() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let s3 = S3::of(&cluster)?;
    let config = s3.s3cmd(&cluster.dir, &s3.secret_key)?;
    let s3cmd = |args: &[&str]| client("s3cmd", &config, args)?.success();
    let (source, back) = (cluster.dir.join("source"), cluster.dir.join("copy"));
    Pattern(1).write(&source, 3_000_000)?;
    s3cmd(&["mb", "s3://photos"])?;
    s3cmd(&["put", utf8(&source), "s3://photos/2026/one"])?;
    s3cmd(&["cp", "s3://photos/2026/one", "s3://photos/two"])?;
    let listed = s3cmd(&["ls", "--recursive", "s3://photos"])?;
    ensure!(listed.contains("s3://photos/2026/one") && listed.contains("3000000") && listed.contains("s3://photos/two"), "{listed}");
    s3cmd(&["get", "s3://photos/two", utf8(&back)])?;
    ensure!(first_difference(&source, &back)?.is_none(), "it came back different");
    ensure!(client("s3cmd", &config, &["rb", "s3://photos"])?.success().is_err_and(|e| format!("{e:#}").contains("BucketNotEmpty")));
    s3cmd(&["del", "--recursive", "--force", "s3://photos"])?;
    s3cmd(&["rb", "s3://photos"])?;
    ensure!(!s3cmd(&["ls"])?.contains("photos"));
    Ok(())
}

#[test]
fn who_has_no_key_or_a_wrong_one_sees_nothing() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let s3 = S3::of(&cluster)?;
    cluster.ok(&["obj", "put", utf8(&s3.s3cmd(&cluster.dir, "any")?), "inside"])?;
    let wrong = s3.s3cmd(&cluster.dir, "wrong-secret")?;
    let refused = client("s3cmd", &wrong, &["ls", "s3://default"])?.success();
    ensure!(refused.is_err_and(|e| format!("{e:#}").contains("SignatureDoesNotMatch")));
    let refusals = [("/", "403", "AccessDenied"), ("/default", "403", "AccessDenied"), ("/default/inside", "403", "AccessDenied")];
    // Which buckets there are is no secret of S3's.
    for (path, status, code) in refusals.into_iter().chain([("/absent/x", "404", "NoSuchBucket")]) {
        let answer = http(s3.host(0), &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))?;
        ensure!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(&format!("<Code>{code}</Code>")), "{path}: {answer}");
    }
    // Nothing that comes in harms the gateway.
    for garbage in ["\0\0\0\0", "GET", "PUT / HTTP/9.9\r\n\r\n", "GET /%ff%zz?x&y=%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"] {
        let answer = http(s3.host(0), garbage)?;
        ensure!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{garbage:?}: {answer}");
    }
    let right = s3.s3cmd(&cluster.dir, &s3.secret_key)?;
    ensure!(client("s3cmd", &right, &["ls", "s3://default"])?.success()?.contains("s3://default/inside"));
    Ok(())
}

/// Sends this and gives all that comes back until the other side closes, or says nothing more.
pub(crate) fn http(host: &str, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(request.as_bytes())?;
    if !request.ends_with("\r\n\r\n") {
        // More is waited for: say that nothing comes. A whole request must not be followed by that, or nobody answers it.
        stream.shutdown(std::net::Shutdown::Write)?;
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
