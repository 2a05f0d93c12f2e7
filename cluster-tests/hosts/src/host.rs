//! One host: its root, its boot, its end. While it is up a process of this tool stands beside it and boots it again when it reboots itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::cgroup::Groups;
use crate::image::write;
use crate::network;
use crate::run::{attempt, run};
use crate::set::{Host, Set};

/// How systemd-nspawn ends where the host asked for a reboot.
const REBOOT: i32 = 133;
/// The parts of a host's directory.
const PARTS: [&str; 3] = ["upper", "work", "root"];

fn part(set: &Set, host: &Host, name: &str) -> PathBuf {
    set.dir().join(&host.name).join(name)
}

/// What holds the host's processes.
pub fn groups(set: &Set, host: &Host) -> Groups {
    Groups::named(&format!("{}-{}", set.name, host.id))
}

/// Makes the root of a host: an overlay over the base image, with its name, its key and the names of all others.
pub fn make_root(set: &Set, host: &Host) -> Result<()> {
    let [upper, work, root] = PARTS.map(|name| part(set, host, name));
    for dir in [&upper, &work, &root] {
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    }
    let options = format!("lowerdir={},upperdir={},workdir={}", set.image.display(), upper.display(), work.display());
    run("mount", &["-t", "overlay", "overlay", "-o", &options, &root.display().to_string()])?;
    write(&root, "etc/hostname", &format!("{}\n", host.name))?;
    let names: String = set.hosts.iter().map(|host| format!("{} {}\n", host.address, host.name)).collect();
    write(&root, "etc/hosts", &format!("127.0.0.1 localhost\n{names}"))?;
    let ssh = root.join("root/.ssh");
    fs::create_dir_all(&ssh)?;
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o700))?;
    let key = fs::read_to_string(set.key().with_extension("pub"))?;
    write(&root, "root/.ssh/authorized_keys", &key)
}

/// Starts a host; it comes up by itself from there.
pub fn boot(set: &Set, host: &Host) -> Result<()> {
    ensure!(!groups(set, host).is_alive(), "{} is up already", host.name);
    network::plug(set, host, true)?;
    let log = fs::File::create(part(set, host, "console.log"))?;
    let own = beside()?;
    Command::new(own)
        .args(["--set", &set.name, "keep", &host.name])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("starting the process beside the host")?;
    Ok(())
}

/// This tool's executable: beside that of a test, where a test is who asks.
fn beside() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    own.ancestors()
        .skip(1)
        .map(|dir| dir.join("redoubt-hosts"))
        .find(|path| path.is_file())
        .with_context(|| format!("no redoubt-hosts beside {}", own.display()))
}

/// Stands beside a host until it is powered off; for the process that [`boot`] starts.
pub fn keep(set: &Set, host: &Host) -> Result<()> {
    groups(set, host).enter()?;
    let root = part(set, host, "root");
    let namespace = format!("/run/netns/{}", set.namespace(host));
    // Entered before, too: /sys would show the network of whoever starts it.
    let mut nspawn = Command::new("nsenter");
    nspawn
        .arg(format!("--net={namespace}"))
        .args(["--", "systemd-nspawn"])
        .args(["-q", "--register=no", "--keep-unit", "--kill-signal=SIGRTMIN+3", "--resolv-conf=off", "--timezone=off"])
        .args(["--link-journal=no", "--console=pipe", "-b", "-M", &set.namespace(host)])
        .arg(format!("--hostname={}", host.name))
        .arg(format!("--network-namespace-path={namespace}"))
        .arg("-D")
        .arg(root)
        .stdin(Stdio::null());
    while nspawn.status().context("systemd-nspawn")?.code() == Some(REBOOT) {}
    Ok(())
}

/// As if its plug were pulled: nothing of it says good-bye.
pub fn cut_power(set: &Set, host: &Host) -> Result<()> {
    // The switch may be gone already.
    let _ = network::plug(set, host, false);
    groups(set, host).kill()
}

/// Takes a host that is not up away.
pub fn remove(set: &Set, host: &Host) {
    groups(set, host).remove();
    attempt("umount", &[&part(set, host, "root").display().to_string()]);
}
