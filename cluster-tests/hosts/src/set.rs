//! A set of hosts: which there are, and where everything of them is. Kept in a file, so that one command makes them and another ends them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::run::{attempt, run};
use crate::{host, image, network};

/// Most hosts of a set.
pub const HOSTS_MAX: u8 = 36;
/// Where sets are. Not below /tmp: overlays do not lie over a file system in memory everywhere.
const PARENT: &str = "/var/tmp/redoubt-hosts";
/// How long a host may take until it can be administered.
const BOOT: Duration = Duration::from_secs(60);
/// Pause between two attempts at that.
const LOOK: Duration = Duration::from_millis(200);

/// A host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Host {
    /// From 1.
    pub id: u8,
    /// Its name, node-1.
    pub name: String,
    /// Its address.
    pub address: String,
}

/// The hosts of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Set {
    /// What the set is called.
    pub name: String,
    /// The base image below their roots.
    pub image: PathBuf,
    /// The hosts.
    pub hosts: Vec<Host>,
}

impl Set {
    fn dir_of(name: &str) -> PathBuf {
        Path::new(PARENT).join(name)
    }

    /// Its directory.
    pub fn dir(&self) -> PathBuf {
        Self::dir_of(&self.name)
    }

    /// The network namespace of the switch, in which its administrator works.
    pub fn switch(&self) -> String {
        format!("redoubt-{}", self.name)
    }

    /// The network namespace of a host.
    pub fn namespace(&self, host: &Host) -> String {
        format!("redoubt-{}-{}", self.name, host.id)
    }

    /// The key that opens every host.
    pub fn key(&self) -> PathBuf {
        self.dir().join("key")
    }

    /// Makes and boots hosts, and waits until they can be administered. What was made is taken away where that fails.
    pub fn up(name: &str, count: u8) -> Result<Self> {
        let is_word = !name.is_empty() && name.len() <= 20 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        ensure!(is_word, "a set is called by 1 to 20 small letters and digits");
        ensure!((1..=HOSTS_MAX).contains(&count), "a set has 1 to {HOSTS_MAX} hosts");
        let dir = Self::dir_of(name);
        ensure!(!dir.exists(), "{} is there already: `redoubt-hosts --set {name} down` takes it away", dir.display());
        let host = |id| Host { id, name: format!("node-{id}"), address: network::address(id) };
        let set = Self { name: name.into(), image: image::base()?, hosts: (1..=count).map(host).collect() };
        let made = set.make();
        if made.is_err() {
            set.down();
        }
        made.map(|()| set)
    }

    fn make(&self) -> Result<()> {
        fs::create_dir_all(self.dir())?;
        let text = serde_json::to_string_pretty(self)?;
        fs::write(self.dir().join("set.json"), text)?;
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &self.key().display().to_string()])?;
        // Each systemd watches much: the kernel's default is enough for about twenty.
        attempt("sysctl", &["-q", "-w", "fs.inotify.max_user_instances=1024"]);
        network::make_switch(self)?;
        for each in &self.hosts {
            network::connect(self, each)?;
            host::make_root(self, each)?;
            host::boot(self, each)?;
        }
        self.hosts.iter().try_for_each(|each| self.wait_for(each))
    }

    /// The set of that name.
    pub fn read(name: &str) -> Result<Self> {
        let path = Self::dir_of(name).join("set.json");
        let text = fs::read_to_string(&path).with_context(|| format!("there is no set `{name}` ({}): `up` makes one", path.display()))?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// The host of that name.
    pub fn host(&self, name: &str) -> Result<&Host> {
        self.hosts.iter().find(|host| host.name == name).with_context(|| format!("there is no host `{name}`"))
    }

    /// Waits until a host can be administered.
    pub fn wait_for(&self, host: &Host) -> Result<()> {
        let end = Instant::now() + BOOT;
        loop {
            match self.ssh(host, &["true"]) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= end => bail!("{} does not come up: {error:#}", host.name),
                Err(_) => std::thread::sleep(LOOK),
            }
        }
    }

    /// Runs a command on a host, as root; gives what it printed.
    pub fn ssh(&self, host: &Host, line: &[&str]) -> Result<String> {
        let (net, key) = (format!("--net=/run/netns/{}", self.switch()), self.key().display().to_string());
        let login = format!("root@{}", host.address);
        let mut arguments = vec![net.as_str(), "--", "ssh", "-i", &key];
        arguments.extend(SSH_OPTIONS);
        arguments.push(&login);
        arguments.extend(line);
        run("nsenter", &arguments)
    }

    /// The hosts, as an inventory of ansible.
    pub fn inventory(&self) -> String {
        self.inventory_of(&self.hosts)
    }

    /// The same of some of its hosts.
    pub fn inventory_of(&self, hosts: &[Host]) -> String {
        let mut text = String::from("redoubt:\n  hosts:\n");
        for host in hosts {
            text += &format!("    {}:\n      ansible_host: {}\n      redoubt_node_id: {}\n", host.name, host.address, host.id);
        }
        let options = SSH_OPTIONS.join(" ");
        text += &format!(
            "  vars:\n    ansible_user: root\n    ansible_python_interpreter: /usr/bin/python3\n    ansible_ssh_private_key_file: {}\n    ansible_ssh_common_args: >-\n      {options}\n",
            self.key().display()
        );
        text
    }

    /// Ends the hosts and takes everything of them away; what is gone already is no error.
    pub fn down(&self) {
        for each in &self.hosts {
            if let Err(error) = host::cut_power(self, each) {
                eprintln!("redoubt-hosts: {}: {error:#}", each.name);
            }
            host::remove(self, each);
        }
        network::remove(self);
        let dir = self.dir().display().to_string();
        attempt("rm", &["-rf", "--one-file-system", &dir]);
    }
}

/// Hosts come and go, with keys that nobody knows; one without power does not answer, and is not waited for.
const SSH_OPTIONS: &[&str] = &[
    "-o",
    "StrictHostKeyChecking=no",
    "-o",
    "UserKnownHostsFile=/dev/null",
    "-o",
    "LogLevel=ERROR",
    "-o",
    "ConnectTimeout=5",
    "-o",
    "ServerAliveInterval=3",
    "-o",
    "ServerAliveCountMax=3",
];
