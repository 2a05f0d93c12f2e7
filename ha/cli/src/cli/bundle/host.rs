//! What this host knows of the cluster's processes: their configurations without what is secret, logs, metrics, and how the host is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use super::{Bundle, tail};

/// Where packages keep configurations.
const CONFIGURATIONS: &str = "/etc/redoubt";
/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most nodes of a local cluster.
const NODES_MAX: usize = 64;
/// What a key is called whose value is secret.
const SECRET: [&str; 4] = ["secret", "password", "token", "access_key"];
/// Shorter values are words, and are in everything.
const SECRET_BYTES_MIN: usize = 8;
/// Longest page of metrics.
const PAGE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Gathers all of it: of the local cluster in that directory, or else of the host's own services.
pub async fn gather(bundle: &mut Bundle, dir: &Path) {
    let local = nodes_in(dir);
    for (node, home) in &local {
        for service in ["ha", "node"] {
            configuration(bundle, &format!("config/{node}-{service}.toml"), &home.join(format!("{service}.toml"))).await;
            let log = home.join(format!("redoubt-{service}.log"));
            bundle.put(&format!("logs/{node}-{service}.txt"), tail(&log));
        }
    }
    if local.is_empty() {
        for service in ["ha", "node"] {
            let path = Path::new(CONFIGURATIONS).join(format!("{service}.toml"));
            configuration(bundle, &format!("config/{service}.toml"), &path).await;
            let unit = format!("redoubt-{service}");
            let journal = ["--no-pager", "-o", "short-iso-precise", "-n", "20000", "-u", &unit];
            bundle.put(&format!("logs/{service}.txt"), output("journalctl", &journal).await);
            bundle.put(&format!("host/unit-{service}.txt"), output("systemctl", &["status", "--no-pager", "-l", &unit]).await);
        }
        bundle.put("logs/kernel.txt", output("journalctl", &["--no-pager", "-k", "-n", "5000"]).await);
    }
    for file in ["version", "uptime", "loadavg", "meminfo", "mounts", "pressure/cpu", "pressure/io", "pressure/memory", "net/dev"] {
        bundle.put(&format!("host/{}.txt", file.replace('/', "-")), tail(&Path::new("/proc").join(file)));
    }
    bundle.put("host/space.txt", output("df", &["-h"]).await);
    bundle.put("host/sockets.txt", output("ss", &["-ltn"]).await);
}

/// The nodes of a local cluster with their directories; none where there is no such cluster.
fn nodes_in(dir: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let named = |entry: std::fs::DirEntry| Some((entry.file_name().into_string().ok()?, entry.path()));
    let mut nodes: Vec<_> = entries.flatten().filter_map(named).filter(|(_, path)| path.join("ha.toml").is_file()).collect();
    nodes.sort();
    nodes.truncate(NODES_MAX);
    nodes
}

/// A configuration without what is secret, and the page of metrics that it names.
async fn configuration(bundle: &mut Bundle, name: &str, path: &Path) {
    let read = tail(path).and_then(|text| text.parse::<toml::Table>().map_err(|_| "it is no TOML, and is left out whole".into()));
    let mut table = match read {
        Ok(table) => table,
        Err(why) => return bundle.put(name, Err(format!("{}: {why}", path.display()))),
    };
    let mut secrets = Vec::new();
    table.iter_mut().for_each(|(key, value)| hide(key, value, &mut secrets));
    bundle.secrets.extend(secrets);
    bundle.put(name, toml::to_string(&table).map_err(|e| e.to_string()));
    if let Some(address) = table.get("metrics").and_then(toml::Value::as_str) {
        let page = timeout(PATIENCE, metrics(address)).await.unwrap_or_else(|_| Err("no answer".into()));
        bundle.put(&name.replace("config/", "metrics/").replace(".toml", ".txt"), page.map_err(|why| format!("{address}: {why}")));
    }
}

/// Leaves out what is secret, and notes it.
fn hide(key: &str, value: &mut toml::Value, secrets: &mut Vec<String>) {
    match value {
        toml::Value::Table(table) => table.iter_mut().for_each(|(key, value)| hide(key, value, secrets)),
        toml::Value::Array(all) => all.iter_mut().for_each(|value| hide(key, value, secrets)),
        value if SECRET.iter().any(|word| key.contains(word)) => {
            secrets.extend(value.as_str().filter(|text| text.len() >= SECRET_BYTES_MIN).map(str::to_owned));
            *value = toml::Value::String("left out".into());
        }
        _ => {}
    }
}

async fn metrics(address: &str) -> Result<String, String> {
    let of = |e: std::io::Error| e.to_string();
    let mut stream = TcpStream::connect(address).await.map_err(of)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n").await.map_err(of)?;
    let mut text = String::new();
    stream.take(PAGE_BYTES_MAX).read_to_string(&mut text).await.map_err(of)?;
    Ok(text.split_once("\r\n\r\n").map_or(text.clone(), |(_, page)| page.into()))
}

async fn output(program: &str, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(args).kill_on_drop(true);
    match timeout(PATIENCE, command.output()).await {
        Err(_) => Err(format!("{program}: it was not over after {PATIENCE:?}")),
        Ok(Err(error)) => Err(format!("{program}: {error}")),
        // What it says is of use however it ended.
        Ok(Ok(output)) => Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_left_out_wherever_they_are_and_noted() {
        let text = "node = \"node-1\"\n[s3]\naccess_key = \"AKEXAMPLE123\"\nsecret_key = \"\"\"very\nsecret\"\"\"\nkey_file = \"/k\"\n[[device]]\nid = 1\n";
        let mut table: toml::Table = text.parse().expect("TOML");
        let mut secrets = Vec::new();
        table.iter_mut().for_each(|(key, value)| hide(key, value, &mut secrets));
        let shown = toml::to_string(&table).expect("TOML");
        assert!(!shown.contains("very") && !shown.contains("AKEXAMPLE") && shown.contains("node-1") && shown.contains("/k"), "{shown}");
        assert_eq!(secrets, ["AKEXAMPLE123", "very\nsecret"]);
    }
}
