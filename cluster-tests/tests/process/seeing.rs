//! What an operator sees of a cluster: the screen, the page of every node, its metrics with the dashboard and the alerts that use them, and what
//! is shown where HA has no majority.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cluster_tests::process::{Cluster, Pattern};
use serde_json::Value;

use crate::utf8;

/// Metrics that a page has only where there is TLS.
const OF_TLS: &str = "redoubt_certificate_good_for_seconds";

/// Head and body of what is at that address.
fn get(url: &str) -> Result<(String, String)> {
    let (address, path) = url.strip_prefix("http://").context("an address")?.split_once('/').context("a path")?;
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").context("a head")?;
    Ok((head.to_string(), body.to_string()))
}

fn pages(cluster: &Cluster, key: &str) -> Result<Vec<String>> {
    let up = cluster.json(&["dev", "up"])?;
    let nodes = up["nodes"].as_array().context("nodes")?;
    nodes.iter().map(|node| Ok(node[key].as_str().context("an address")?.to_string())).collect()
}

fn monitoring() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/monitoring")
}

/// What looks like the name of a metric in a text of queries.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("redoubt_") || word.starts_with("process_")).map(str::to_string).collect()
}

/// The names that pages of metrics declare, with those of histograms' series.
fn names_on(page: &str) -> BTreeSet<String> {
    let declared = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let series = declared.flat_map(|(name, kind)| match kind {
        "histogram" => ["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")).to_vec(),
        _ => vec![name.to_string()],
    });
    series.collect()
}

fn queries(value: &Value, found: &mut String) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| match value.as_str() {
            Some(text) if key == "expr" => found.extend([text, "\n"]),
            _ => queries(value, found),
        }),
        Value::Array(all) => all.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

#[test]
fn the_screen_the_page_and_the_metrics_show_what_goes_on_and_no_names() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    cluster.ok(&["bucket", "create", "secret-plans"])?;
    let source = cluster.dir.join("source");
    Pattern(5).write(&source, 4 << 20)?;
    cluster.ok(&["obj", "put", utf8(&source), "secret-plans/attack"])?;

    let json = cluster.ha(&["top"])?;
    ensure!(json["health"] == "healthy" && json["nodes"].as_array().is_some_and(|nodes| nodes.len() == 3), "{json}");
    ensure!(json["rates"]["kinds"].as_array().is_some_and(|kinds| kinds.len() == 4), "{json}");
    let page = cluster.run_within("ha", &["top", "--once"], 20)?.success()?;
    ensure!(page.contains("HEALTHY") && page.contains("unit writes") && page.contains("dev-6") && !page.contains('\x1b'), "{page}");

    let (head, html) = get(&pages(&cluster, "web")?[1])?;
    ensure!(head.starts_with("HTTP/1.1 200") && head.contains("default-src 'none'") && html.starts_with("<!doctype html>"), "{head}");
    let (_, seen) = get(&format!("{}seen.json", pages(&cluster, "web")?[1]))?;
    let value: Value = serde_json::from_str(&seen)?;
    ensure!(value["confirmed"] == true && value["devices"].as_array().is_some_and(|devices| devices.len() == 6), "{seen}");
    let written = |value: &Value| {
        let nodes = value["nodes"].as_array().into_iter().flatten();
        nodes
            .flat_map(|node| node["load"]["work"].as_array().into_iter().flatten().cloned().collect::<Vec<_>>())
            .filter(|work| work["kind"] == "unit writes")
            .filter_map(|work| work["bytes"].as_u64())
            .sum::<u64>()
    };
    // 4+2: half as much again.
    ensure!(written(&value) >= 6 << 20, "{seen}");
    ensure!(value["events"].as_array().is_some_and(|events| !events.is_empty()) && !seen.contains("secret-plans"), "{seen}");

    dashboard_and_alerts_know_the_metrics(&cluster)
}

/// Every metric that a query names is on a page; pages of leader and others together.
fn dashboard_and_alerts_know_the_metrics(cluster: &Cluster) -> Result<()> {
    let mut known = BTreeSet::from([OF_TLS.to_string()]);
    for page in pages(cluster, "web")?.iter().map(|page| format!("{page}metrics")).chain(pages(cluster, "metrics")?) {
        let (head, text) = get(&page)?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{page}: {head}");
        known.extend(names_on(&text));
    }
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(monitoring().join("redoubt.dashboard.json"))?)?;
    let mut asked = String::new();
    queries(&dashboard, &mut asked);
    ensure!(asked.lines().count() > 30, "{asked}");
    let rules = fs::read_to_string(monitoring().join("redoubt.rules.yml"))?;
    let rules: String = rules.lines().filter(|line| line.trim_start().starts_with("expr:")).map(|line| format!("{line}\n")).collect();
    ensure!(rules.lines().count() > 10, "{rules}");
    for (what, text) in [("the dashboard", &asked), ("the alerts", &rules)] {
        let unknown: Vec<String> = names_in(text).difference(&known).cloned().collect();
        ensure!(unknown.is_empty(), "{what} asks for {unknown:?}, which no page has");
    }
    Ok(())
}

#[test]
fn without_a_majority_what_is_known_is_shown_and_said_to_be_old() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let known = cluster.last_event()?;
    cluster.kill("node-2")?;
    cluster.kill("node-3")?;
    // Until the daemon that is left has seen that the others do not answer.
    cluster.wait_for("the loss is seen", Duration::from_secs(20), || {
        Ok(cluster.ha(&["status"])?["voters_that_do_not"].as_array().is_some_and(|silent| silent.len() == 2))
    })?;
    let status = cluster.ha(&["status"])?;
    ensure!(status["confirmed"] == false && status["voters_that_answer"][0] == "node-1", "{status}");
    let text = cluster.run_within("ha", &["status"], 20)?.success()?;
    ensure!(text.contains("no majority: of 3 voters 1 answer (node-2, node-3 do not answer)"), "{text}");
    let events = cluster.run_within("ha", &["events", "--output", "json"], 20)?;
    ensure!(events.code == 0 && events.err.contains("no majority"), "{events:?}");
    ensure!(
        serde_json::from_slice::<Value>(&events.out)?.as_array().is_some_and(|all| all.iter().any(|e| e["index"] == known)),
        "{events:?}"
    );
    let log = cluster.ha(&["log"])?;
    let reachable = |node: &str| log.as_array().into_iter().flatten().any(|one| one["node"] == node && one["reachable"] == true);
    ensure!(reachable("node-1") && !reachable("node-2") && !reachable("node-3"), "{log}");
    let top = cluster.run_within("ha", &["top", "--once"], 20)?.success()?;
    ensure!(top.contains("NO MAJORITY") && top.contains("no answer"), "{top}");
    // A change is refused in words that say what is missing, and in time.
    let began = Instant::now();
    let refused = cluster.run_within("ha", &["repair", "pause", "--timeout", "3"], 20)?;
    ensure!(refused.code == 5 && refused.err.contains("have no leader") && refused.err.contains("do not"), "{refused:?}");
    ensure!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    Ok(())
}

/// `make web-test`: needs Chromium.
#[test]
#[ignore = "needs Chromium: make web-test"]
fn a_browser_shows_the_page() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let page = pages(&cluster, "web")?.remove(0);
    let shots = PathBuf::from(std::env::var("REDOUBT_SHOTS").unwrap_or_else(|_| utf8(&cluster.dir).to_string()));
    let browse = |more: &[&str]| -> Result<String> {
        let mut command = Command::new("chromium");
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--virtual-time-budget=15000"]);
        let profile = cluster.dir.join("chromium");
        let output = command.arg(format!("--user-data-dir={}", profile.display())).args(more).arg(&page).output().context("chromium")?;
        ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    let dom = browse(&["--dump-dom", "--enable-logging=stderr"])?;
    for word in [">HEALTHY<", ">node-3<", ">dev-6<", ">ONLINE<", "unit writes", "RECOVERING -&gt; ONLINE"] {
        ensure!(dom.contains(word), "{word}: {dom}");
    }
    ensure!(!dom.contains("Content Security Policy") && !dom.contains("Uncaught"), "{dom}");
    cluster.kill("node-3")?;
    cluster.wait_state("node-3", "TRANSIENT", Duration::from_secs(10))?;
    let dom = browse(&["--dump-dom"])?;
    ensure!(dom.contains(">DEGRADED<") && dom.contains(">TRANSIENT<") && dom.contains("no answer"), "{dom}");
    for (name, more) in [
        ("desktop", ["--window-size=1280,1500", "--hide-scrollbars"]),
        ("phone", ["--window-size=500,2600", "--hide-scrollbars"]),
        ("dark", ["--window-size=1280,1500", "--blink-settings=preferredColorScheme=0"]),
    ] {
        let file = shots.join(format!("{name}.png"));
        browse(&[more[0], more[1], &format!("--screenshot={}", file.display())])?;
        ensure!(fs::metadata(&file)?.len() > 10_000, "{}", file.display());
    }
    Ok(())
}
