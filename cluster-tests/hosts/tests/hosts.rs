//! The booted hosts themselves: cut off, frozen, without power, rebooted.

use anyhow::{Result, bail, ensure};
use hosts::{Set, host, network, permit};

/// `must`: a machine that does not permit booted hosts is a failure.
const ENFORCED: &str = "REDOUBT_HOSTS";

/// Hosts that are gone when it is.
struct Gone(Set);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.down();
    }
}

#[test]
fn hosts_are_cut_off_frozen_rebooted_and_without_power_and_come_back() -> Result<()> {
    if let Some(why) = permit::refusal() {
        if std::env::var(ENFORCED).is_ok_and(|value| value == "must") {
            bail!("no booted hosts here, and {ENFORCED} says that there must be: {why}");
        }
        eprintln!("SKIPPED: no booted hosts here: {why}");
        return Ok(());
    }
    let gone = Gone(Set::up(&format!("probe{}", std::process::id()), 3)?);
    let set = &gone.0;
    let [one, two, three] = &set.hosts[..] else { bail!("three hosts") };
    let reaches = |from, to: &str| set.ssh(from, &["ping", "-c1", "-W1", to]).is_ok();

    ensure!(reaches(one, "node-2") && reaches(three, "node-2"), "hosts reach each other by name");
    network::partition(set, &[one])?;
    ensure!(!reaches(one, "node-2") && !reaches(three, "node-1") && reaches(three, "node-2"), "one is cut off, both ways");
    network::heal(set);
    ensure!(reaches(one, "node-2"), "healed");

    host::groups(set, two).freeze(true)?;
    ensure!(set.ssh(two, &["true"]).is_err(), "a frozen host does not answer");
    host::groups(set, two).freeze(false)?;
    set.wait_for(two)?;

    let boots = "cat /proc/sys/kernel/random/boot_id; systemctl show -P UserspaceTimestampMonotonic";
    let before = set.ssh(two, &[boots])?;
    // Its connection may be gone before it answers.
    let _cut = set.ssh(two, &["systemctl reboot"]);
    let mut after = before.clone();
    for _ in 0..60 {
        std::thread::sleep(std::time::Duration::from_millis(500));
        after = set.ssh(two, &[boots]).unwrap_or(after);
        if after != before {
            break;
        }
    }
    ensure!(after != before, "it has booted again: {after}");

    set.ssh(three, &["touch /var/kept"])?;
    host::cut_power(set, three)?;
    ensure!(!host::groups(set, three).is_alive() && set.ssh(three, &["true"]).is_err(), "nothing of it runs");
    host::boot(set, three)?;
    set.wait_for(three)?;
    set.ssh(three, &["test -e /var/kept"]).map(|_| ())
}
