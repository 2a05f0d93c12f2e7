//! The base image: a small Debian that boots, made once by debootstrap and kept in the user's cache. Every host has an overlay over it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::run::{attempt, run};

/// What is in it, beside the smallest Debian: what boots and is administered, and what our packages depend on, for hosts have no way out.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,openssh-server,python3,iproute2,iputils-ping,procps,e2fsprogs,kmod,curl,ca-certificates,libfabric1,libisal2,libstdc++6";
const SUITE: &str = "bookworm";
const MIRROR: &str = "http://deb.debian.org/debian";
/// Counted up when what is done to the image changes.
const EDITION: u32 = 1;
/// Units that have no business on a host that lives for minutes.
const MASKED: &[&str] = &[
    "apt-daily.service",
    "apt-daily.timer",
    "apt-daily-upgrade.service",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "systemd-pstore.service",
    "getty@tty1.service",
    "console-getty.service",
    "systemd-networkd.service",
    "systemd-networkd.socket",
];

/// The unpacked image; made where it is not there yet, which takes a minute or two.
pub fn base() -> Result<PathBuf> {
    let dir = cache()?.join(format!("{SUITE}-{EDITION}"));
    if dir.is_dir() {
        return Ok(dir);
    }
    let beside = dir.with_extension(format!("new-{}", std::process::id()));
    fs::create_dir_all(dir.parent().context("a directory in the cache")?)?;
    eprintln!("redoubt-hosts: making the base image, which takes some minutes, once");
    let target = beside.display().to_string();
    let mirror = std::env::var("REDOUBT_HOSTS_MIRROR").unwrap_or_else(|_| MIRROR.into());
    let made =
        run("debootstrap", &["--variant=minbase", &format!("--include={PACKAGES}"), SUITE, &target, &mirror]).and_then(|_| settle(&beside));
    if let Err(error) = made {
        attempt("rm", &["-rf", "--one-file-system", &target]);
        return Err(error);
    }
    match fs::rename(&beside, &dir) {
        Ok(()) => {}
        // Somebody else was faster.
        Err(_) if dir.is_dir() => attempt("rm", &["-rf", "--one-file-system", &target]),
        Err(error) => return Err(error).context("keeping the image"),
    }
    Ok(dir)
}

fn cache() -> Result<PathBuf> {
    if let Some(cache) = std::env::var_os("XDG_CACHE_HOME") {
        return Ok(PathBuf::from(cache).join("redoubt/hosts"));
    }
    let home = std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME says where a cache may be")?;
    Ok(PathBuf::from(home).join(".cache/redoubt/hosts"))
}

fn settle(root: &Path) -> Result<()> {
    let units = root.join("etc/systemd/system");
    for unit in MASKED {
        let path = units.join(unit);
        let _absent = fs::remove_file(&path);
        symlink("/dev/null", &path).with_context(|| path.display().to_string())?;
    }
    write(root, "etc/machine-id", "")?;
    write(root, "etc/fstab", "")?;
    write(root, "etc/systemd/journald.conf.d/volatile.conf", "[Journal]\nStorage=volatile\nRateLimitBurst=0\n")?;
    write(root, "etc/ssh/sshd_config.d/hosts.conf", "PermitRootLogin prohibit-password\nUseDNS no\nMaxStartups 100\n")?;
    let debs = root.join("var/cache/apt/archives");
    for entry in fs::read_dir(&debs)?.flatten().filter(|entry| entry.path().extension().is_some_and(|e| e == "deb")) {
        fs::remove_file(entry.path())?;
    }
    Ok(())
}

/// Writes a file of a root, with the directories above it.
pub fn write(root: &Path, name: &str, text: &str) -> Result<()> {
    let path = root.join(name);
    let dir = path.parent().context("a file in a directory")?;
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    fs::write(&path, text).with_context(|| path.display().to_string())
}
