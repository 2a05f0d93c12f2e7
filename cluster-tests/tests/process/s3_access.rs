//! Who may use S3, for how long and how much of it, and who is told, by boto3 and the command: temporary credentials, quotas, events.

use anyhow::Result;
use cluster_tests::process::Cluster;

use crate::s3::S3;
use crate::s3_versions::cases_with;

/// Runs the cases of a file, which call the command, too.
fn cases(cluster: &Cluster, file: &str) -> Result<()> {
    cases_with(&S3::of(cluster)?, file, &[("REDOUBT", &cluster.bin().join("redoubt")), ("REDOUBT_DIR", &cluster.dir)])
}

#[test]
fn no_more_is_written_than_a_quota_allows() -> Result<()> {
    cases(&Cluster::up(3, &[])?, "quotas.py")
}

#[test]
fn temporary_credentials_end_with_what_they_came_from() -> Result<()> {
    cases(&Cluster::up(3, &[])?, "sessions.py")
}

#[test]
fn webhooks_are_told_of_every_acknowledged_change() -> Result<()> {
    cases(&Cluster::up_with(3, &[], &[("REDOUBT_DAY_MS", "2000")])?, "events.py")
}
