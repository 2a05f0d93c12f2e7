//! Versions, locks and lifecycle rules, by boto3: each file of `boto/` is run against all gateways of a cluster, and no space is lost.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cluster_tests::process::{Clients, Cluster, run, say};

use crate::s3::S3;
use crate::utf8;

/// How long all cases of one file may take.
const CASES: Duration = Duration::from_secs(300);
/// How long what nobody has any more may take to go.
const SWEPT: Duration = Duration::from_secs(60);
/// How old dead fids get here, and how long a day is.
const TIMES: &[(&str, &str)] = &[("REDOUBT_DEAD_AGE_MS", "1000"), ("REDOUBT_DAY_MS", "2000")];

/// Runs the cases of a file; `REDOUBT_CASE` chooses those whose names hold it.
fn cases(s3: &S3, file: &str) -> Result<()> {
    cases_with(s3, file, &[])
}

/// The same with more in their surroundings.
pub(crate) fn cases_with(s3: &S3, file: &str, more: &[(&str, &dyn AsRef<OsStr>)]) -> Result<()> {
    let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/process/boto").join(file);
    let only = std::env::var("REDOUBT_CASE").unwrap_or_default();
    let mut args = vec!["-B", utf8(&script), &s3.access_key, &s3.secret_key, &only];
    args.extend(s3.endpoints.iter().map(String::as_str));
    let no_proxy: [(&str, &dyn AsRef<OsStr>); 2] = [("HTTP_PROXY", &""), ("http_proxy", &"")];
    let ran = run(Path::new("python3"), &args, &[&no_proxy[..], more].concat(), CASES)?.success()?;
    for line in ran.lines() {
        say(line.to_owned());
    }
    Ok(())
}

fn no_unit_is_left(cluster: &Cluster) -> Result<()> {
    let clients = Clients::connect(cluster, Duration::from_secs(15))?;
    let began = Instant::now();
    loop {
        let units: u64 = clients.usage()?.iter().map(|device| device.units).sum();
        if units == 0 {
            return Ok(());
        }
        ensure!(began.elapsed() < SWEPT, "{units} units after {SWEPT:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn versions_are_kept_listed_removed_and_leave_no_space_behind() -> Result<()> {
    let cluster = Cluster::up_with(3, &[], TIMES)?;
    cases(&S3::of(&cluster)?, "versions.py")?;
    no_unit_is_left(&cluster)
}

#[test]
fn what_is_locked_stays() -> Result<()> {
    let cluster = Cluster::up_with(3, &[], TIMES)?;
    cases(&S3::of(&cluster)?, "locks.py")?;
    no_unit_is_left(&cluster)
}

#[test]
fn what_a_rule_is_over_goes_and_nothing_else() -> Result<()> {
    let cluster = Cluster::up_with(3, &[], TIMES)?;
    cases(&S3::of(&cluster)?, "lifecycles.py")?;
    no_unit_is_left(&cluster)
}
