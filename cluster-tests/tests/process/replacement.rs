//! Members of groups are replaced: a device that has failed for good, and one that an operator wants to be rid of, under load.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cluster_tests::process::{Clients, Cluster, Crew, Kind, Load, Verb, Worked, say};
use serde_json::Value;

/// How long all groups of a device may take to move.
const MOVED: Duration = Duration::from_secs(90);
/// Far more records in every group than a log keeps of what all have: learners need a full copy.
const BENCH: &[&str] = &["bench", "kv", "--index", "filled", "--clients", "32", "--operations", "6000"];

fn crews() -> [Crew; 2] {
    let crew = |kind, workers, lengths| Crew { kind, workers, mix: [4, 3, 3], lengths, pause: Duration::from_millis(5), fixed: None };
    [crew(Kind::Object, 2, &[0, 3_000, 65_537, 300_000][..]), crew(Kind::Key, 3, &[1, 100, 20_000][..])]
}

fn device(cluster: &Cluster, id: &str) -> Result<Value> {
    let list = cluster.ha(&["device", "list"])?;
    list.as_array().and_then(|all| all.iter().find(|d| d["id"] == id)).cloned().with_context(|| format!("{id} is not listed"))
}

/// Replicated groups that name the device in that list of theirs.
fn groups_with(cluster: &Cluster, list: &str, id: &str) -> Result<usize> {
    let pool = cluster.ha(&["pool", "show", "meta"])?;
    let groups = pool["group_states"].as_array().context("groups")?;
    Ok(groups.iter().filter(|group| group[list].as_array().is_some_and(|all| all.iter().any(|d| d == id))).count())
}

fn forgotten(cluster: &Cluster, node: &str, id: &str) -> Result<usize> {
    let log = fs::read_to_string(cluster.dir.join(node).join("redoubt-node.log"))?;
    Ok(log.lines().filter(|line| line.contains("the group is forgotten") && line.contains(&format!("device={id}"))).count())
}

/// No group has a member on the device any more, none has a learner, and all are active.
fn has_moved(cluster: &Cluster, id: &str) -> Result<bool> {
    let pool = cluster.ha(&["pool", "show", "meta"])?;
    let groups = pool["group_states"].as_array().context("groups")?;
    let settled = |group: &Value| {
        let names = |list: &str| group[list].as_array().cloned().unwrap_or_default();
        !names("members").iter().any(|d| d == id) && names("learners").is_empty() && group["view"] == group["active_view"]
    };
    Ok(groups.iter().all(settled))
}

#[test]
fn groups_of_a_failed_device_and_of_one_that_is_to_go_move_to_others_under_load() -> Result<()> {
    let cluster = Cluster::up(4, &[])?;
    cluster.ok(&["idx", "create", "filled"])?;
    cluster.redoubt_within(BENCH, 180)?.success()?;
    let clients = Clients::connect(&cluster, Duration::from_secs(20))?;
    let kept = Worked { objects: clients.fill(Kind::Object, "kept", &[500, 300_000], 8)?, ..Worked::default() };
    let (failed, leaving) = ("dev-1", "dev-4");
    let had = [groups_with(&cluster, "members", failed)?, groups_with(&cluster, "members", leaving)?];
    assert!(had.iter().all(|groups| *groups > 0), "{had:?}");
    let load = Load::begin(&clients, 7, &crews());
    let known = cluster.last_event()?;
    cluster.run_within("ha", &["device", "fail", failed], 20)?.success()?;
    assert_eq!(device(&cluster, failed)?["state"], "FAILED");
    cluster.wait_for("the failed device's groups have moved", MOVED, || has_moved(&cluster, failed))?;
    let shown = cluster.run_within("ha", &["device", "replace", leaving], 20)?.success()?;
    assert!(shown.contains("is to be replaced"), "{shown}");
    cluster.wait_for("the leaving device's groups have moved", MOVED, || has_moved(&cluster, leaving))?;
    let worked = load.end(&clients)?;
    let [puts, gets, deletes] = [Verb::Put, Verb::Get, Verb::Delete].map(|verb| worked.count(verb));
    let longest = worked.steps.iter().map(|step| step.took).max().unwrap_or_default();
    say(format!("{had:?} groups moved; {puts} puts, {gets} gets, {deletes} deletes, longest {} ms", longest.as_millis()));
    if let Some(error) = worked.errors.first() {
        bail!("{} steps failed, such as: {error}", worked.errors.len());
    }
    let events = cluster.events_after(known)?;
    let told = |what: &str| events.iter().filter(|event| event.what.contains(what)).count();
    assert!(told("learns") >= had[0] && told("is filled") >= had[0] && told("takes the place of dev-1") == had[0], "{events:?}");
    assert!(told("takes the place of dev-4") >= had[1], "{events:?}");
    // What the leaving device had is forgotten there, and it serves on with its units; no group that it had left is on it after a start.
    let before = forgotten(&cluster, "node-2", leaving)?;
    assert!(before >= had[1], "{before} of {}", had[1]);
    assert_eq!((device(&cluster, leaving)?["state"].clone(), device(&cluster, leaving)?["groups"].clone()), ("ONLINE".into(), 0.into()));
    clients.verify(&kept)?;
    clients.verify(&worked)?;
    // Others die: what took the places has to do. Units may not be rebuilt by then, so not every object has enough of them.
    let rows = Worked { keys: worked.keys.clone(), ..Worked::default() };
    for node in ["node-3", "node-4"] {
        cluster.kill(node)?;
        clients.verify(&rows)?;
        cluster.start(node)?;
        cluster.all_online(Duration::from_secs(30))?;
    }
    assert_eq!(forgotten(&cluster, "node-2", leaving)?, before);
    Ok(())
}
