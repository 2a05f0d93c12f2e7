//! The network of a set: a namespace with a bridge, the switch, and a namespace for each host with a cable to it. The machine's own namespace
//! gets no address, no route and no rule. Who administers the hosts works in the switch's namespace.

use anyhow::Result;

use crate::run::{attempt, run};
use crate::set::{Host, Set};

/// The bridge in the switch's namespace.
const BRIDGE: &str = "br0";
/// The table that cuts cables.
const TABLE: &str = "redoubt";
/// Last part of the address of who administers the hosts.
const ADMINISTRATOR: u8 = 254;

/// The address of a host.
pub fn address(id: u8) -> String {
    format!("10.77.0.{id}")
}

/// Makes the switch.
pub fn make_switch(set: &Set) -> Result<()> {
    let switch = set.switch();
    run("ip", &["netns", "add", &switch])?;
    run("ip", &["-n", &switch, "link", "set", "lo", "up"])?;
    run("ip", &["-n", &switch, "link", "add", BRIDGE, "type", "bridge"])?;
    run("ip", &["-n", &switch, "addr", "add", &format!("{}/24", address(ADMINISTRATOR)), "dev", BRIDGE])?;
    run("ip", &["-n", &switch, "link", "set", BRIDGE, "up"])?;
    // Where the kernel has this, packets between hosts would go through rules of IP, too.
    in_namespace(&switch, &["sysctl", "-q", "-w", "net.bridge.bridge-nf-call-iptables=0"]);
    Ok(())
}

fn in_namespace(namespace: &str, line: &[&str]) {
    let net = format!("--net=/run/netns/{namespace}");
    let mut arguments = vec![net.as_str(), "--"];
    arguments.extend(line);
    attempt("nsenter", &arguments);
}

/// Gives a host its namespace, its address and its cable.
pub fn connect(set: &Set, host: &Host) -> Result<()> {
    let (switch, own, port) = (set.switch(), set.namespace(host), port(host));
    run("ip", &["netns", "add", &own])?;
    run("ip", &["link", "add", &port, "netns", &switch, "type", "veth", "peer", "name", "host0", "netns", &own])?;
    run("ip", &["-n", &switch, "link", "set", &port, "master", BRIDGE, "up"])?;
    run("ip", &["-n", &own, "link", "set", "lo", "up"])?;
    run("ip", &["-n", &own, "addr", "add", &format!("{}/24", host.address), "dev", "host0"])?;
    run("ip", &["-n", &own, "link", "set", "host0", "up"])?;
    Ok(())
}

fn port(host: &Host) -> String {
    format!("port{}", host.id)
}

/// Pulls or plugs a host's cable.
pub fn plug(set: &Set, host: &Host, is_in: bool) -> Result<()> {
    run("ip", &["-n", &set.switch(), "link", "set", &port(host), if is_in { "up" } else { "down" }]).map(|_| ())
}

/// From now on the hosts named and all others do not reach each other. Who administers them reaches all.
pub fn partition(set: &Set, away: &[&Host]) -> Result<()> {
    heal(set);
    let names = |hosts: &mut dyn Iterator<Item = &Host>| hosts.map(port).collect::<Vec<_>>().join(", ");
    let here = names(&mut set.hosts.iter().filter(|host| away.iter().all(|other| other.id != host.id)));
    let there = names(&mut away.iter().copied());
    let rules = format!(
        "table bridge {TABLE} {{\nchain forward {{\ntype filter hook forward priority 0;\n\
         iifname {{ {here} }} oifname {{ {there} }} drop\niifname {{ {there} }} oifname {{ {here} }} drop\n}}\n}}"
    );
    run("nsenter", &[&format!("--net=/run/netns/{}", set.switch()), "--", "nft", &rules]).map(|_| ())
}

/// All reach each other again.
pub fn heal(set: &Set) {
    in_namespace(&set.switch(), &["nft", "delete", "table", "bridge", TABLE]);
}

/// Takes it all away. Cables first: a namespace goes some time after its deletion, and would hold them until then.
pub fn remove(set: &Set) {
    for host in &set.hosts {
        attempt("ip", &["-n", &set.switch(), "link", "del", &port(host)]);
        attempt("ip", &["netns", "del", &set.namespace(host)]);
    }
    attempt("ip", &["netns", "del", &set.switch()]);
}
