//! Recovery in figures, held to their limits: `cluster-tests bench recovery` prints the same.

use std::time::Duration;

use anyhow::Result;
use cluster_tests::process::{Clients, Cluster, say};
use cluster_tests::recovery::{self, Figure, HEADS};

const TIMEOUT: Duration = Duration::from_secs(15);

fn hold(figures: &[Figure]) {
    say(HEADS);
    figures.iter().for_each(|figure| say(figure.row()));
    let beyond: Vec<String> = figures.iter().filter(|figure| !figure.is_within_its_limit()).map(Figure::row).collect();
    assert!(beyond.is_empty(), "{beyond:#?}");
}

#[test]
fn writes_of_each_affected_group_come_back_and_others_hardly_notice() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let clients = Clients::connect(&cluster, TIMEOUT)?;
    hold(&recovery::first_writes(&cluster, &clients)?);
    Ok(())
}

#[test]
#[ignore = "minutes; REDOUBT_RECORDS says how many"]
fn missed_records_are_redone_while_clients_go_on() -> Result<()> {
    let records: usize = std::env::var("REDOUBT_RECORDS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let cluster = Cluster::up(3, &[])?;
    let clients = Clients::connect(&cluster, TIMEOUT)?;
    hold(&recovery::catch_up(&cluster, &clients, records)?);
    Ok(())
}
