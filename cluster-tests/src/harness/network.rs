//! A network of its own for a run: each node and each place of clients in a network namespace with one address, and a switch of ours between
//! them, which delivers, delays, loses, doubles and spoils packets as it is told.
//!
//! Needs root and `/dev/net/tun`. Namespaces are named after our pid; those that a killed run left are removed by the next.

mod link;
mod switch;
mod tun;

pub use link::{Counts, Link};
pub use switch::Cut;

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use rustix::thread::LinkNameSpaceType;

use switch::Switch;

/// First part of the names of our namespaces.
const PREFIX: &str = "redoubt";
/// Where `ip netns` keeps names.
const NAMES: &str = "/run/netns";
/// Longest packet: a link like one with large frames, so that a unit is not a thousand packets.
const MTU: usize = 9000;
/// Networks of this process so far: each has names of its own.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Somebody on the network.
#[derive(Clone, Debug)]
pub struct Host {
    /// Who.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its only address.
    pub address: Ipv4Addr,
}

/// The network of a run; removed when dropped.
pub struct Network {
    hosts: Vec<Host>,
    switch: Switch,
}

/// Whether this machine permits such a network, or why not.
pub fn permitted() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("network namespaces need root: run as root, or say `network: loopback` and leave faults of the network out");
    }
    if !Path::new(tun::DEVICE).exists() {
        bail!("{} is not there: the kernel has no TUN devices, and faults of the network need them", tun::DEVICE);
    }
    ip(&["-V"]).context("`ip` (package iproute2) is needed for network namespaces")
}

fn ip(arguments: &[&str]) -> Result<()> {
    let out = Command::new("ip").args(arguments).output().context("ip")?;
    if !out.status.success() {
        bail!("`ip {}`: {}", arguments.join(" "), String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(())
}

/// Moves the calling thread, and all threads and processes that it starts from now on, into a namespace.
pub fn enter(namespace: &str) -> Result<()> {
    let path = Path::new(NAMES).join(namespace);
    let file = File::open(&path).with_context(|| path.display().to_string())?;
    rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("entering {namespace}"))
}

impl Network {
    /// Makes it: namespaces, devices, addresses, the switch.
    pub fn create(names: &[String], seed: u64) -> Result<Self> {
        permitted()?;
        remove_left_over();
        let network = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut hosts = Vec::new();
        let mut ports = Vec::new();
        for (number, name) in (1u8..).zip(names) {
            let namespace = format!("{PREFIX}-{network}-{number}");
            let address = Ipv4Addr::new(10, 77, 0, number);
            ip(&["netns", "add", &namespace])?;
            hosts.push(Host { name: name.clone(), namespace: namespace.clone(), address });
            // Unique on the machine for the moment before it is moved; 15 bytes at most.
            let device = format!("r{network}n{number}");
            ports.push((address, tun::open(&device)?));
            ip(&["link", "set", &device, "netns", &namespace])?;
            ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
            ip(&["-n", &namespace, "addr", "add", &format!("{address}/24"), "dev", &device])?;
            ip(&["-n", &namespace, "link", "set", &device, "mtu", &MTU.to_string(), "up"])?;
        }
        Ok(Self { hosts, switch: Switch::start(ports, MTU, seed)? })
    }

    /// Who is there.
    pub fn host(&self, name: &str) -> Result<&Host> {
        self.hosts.iter().find(|host| host.name == name).with_context(|| format!("{name} is not on the network"))
    }

    /// Everybody.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Lays a rule on what `from` sends to `to`, on top of those that are there; it holds until the cut is lifted.
    pub fn lay(&self, from: &str, to: &str, link: Link) -> Result<Cut> {
        Ok(self.switch.lay(self.host(from)?.address, self.host(to)?.address, link))
    }

    /// Takes a rule off.
    pub fn lift(&self, cut: Cut) {
        self.switch.lift(cut);
    }

    /// What happened to packets so far.
    pub fn counts(&self) -> Counts {
        self.switch.counts()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.switch.stop();
        for host in &self.hosts {
            if let Err(error) = ip(&["netns", "del", &host.namespace]) {
                eprintln!("{error:#}");
            }
        }
    }
}

/// Removes the namespaces of runs that were killed.
fn remove_left_over() {
    let Ok(names) = std::fs::read_dir(NAMES) else { return };
    for name in names.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.trim_start_matches('-').split('-').next());
        if pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists()) {
            // Another run may have removed it meanwhile.
            let _ = ip(&["netns", "del", &name]);
        }
    }
}

#[cfg(test)]
mod tests;
