//! Whether this machine permits booted hosts, said before anything is made.

use std::path::Path;

use crate::run::run;

/// Programs that are needed, and the Debian packages that they are in.
const PROGRAMS: &[(&str, &str)] = &[
    ("systemd-nspawn", "systemd-container"),
    ("debootstrap", "debootstrap"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
];

/// Why booted hosts are not possible here; `None` where they are.
pub fn refusal() -> Option<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let is_there = |name: &str| path.split(':').any(|dir| Path::new(dir).join(name).is_file());
    if let Some((name, package)) = PROGRAMS.iter().find(|(name, _)| !is_there(name)) {
        return Some(format!("there is no {name}: install {package}"));
    }
    match run("id", &["-u"]) {
        Ok(id) if id.trim() == "0" => {}
        _ => return Some("it takes root".into()),
    }
    if let Err(error) = run("unshare", &["--net", "--mount", "true"]) {
        return Some(format!("no namespaces: {error:#}"));
    }
    if crate::cgroup::hierarchies().is_empty() {
        return Some("no control groups that can be written below /sys/fs/cgroup".into());
    }
    let overlay = std::fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.contains("overlay"));
    (!overlay).then(|| "the kernel has no overlay file system".into())
}
