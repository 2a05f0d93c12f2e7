//! Units through real processes: written, read, fenced, damaged, swept.

mod support;

use std::os::unix::fs::FileExt;

use support::{Cluster, DATA};
use types::map::ClusterMap;
use types::object::PendingRow;
use types::ops::{Condition, Op};
use types::record::RowKey;
use types::{GroupId, SessionId, ViewNumber, keys};

const UNIT_BYTES: usize = 128 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn units_are_kept_fenced_found_damaged_and_swept() {
    let mut cluster = Cluster::start().await;
    let session = cluster.ha.open_session().await.expect("a session").session;
    a_unit_comes_back_and_what_must_not_be_written_is_refused(&cluster, session).await;
    a_unit_survives_its_process(&mut cluster, session).await;
    a_flipped_byte_is_found_and_told(&cluster, session).await;
    what_a_gone_writer_left_is_swept(&cluster).await;
}

async fn a_unit_comes_back_and_what_must_not_be_written_is_refused(cluster: &Cluster, session: SessionId) {
    let map = cluster.map().await;
    let (info, data) = cluster.unit(session, 1, UNIT_BYTES);
    let write = cluster.write(&map, &info, &data);
    assert_eq!(cluster.read_unit(&map, write.device, &info).await.expect_err("not there").get(..6), Some("NoUnit"));
    cluster.write_unit(&map, &write, &data).await.expect("written");
    assert_eq!(cluster.read_unit(&map, write.device, &info).await.as_deref(), Ok(&data[..]));

    let refused = async |write| cluster.write_unit(&map, &write, &data).await.expect_err("it must be refused");
    let (next, _) = cluster.unit(session, 1, UNIT_BYTES);
    let good = cluster.write(&map, &next, &data);
    let mut stale = good.clone();
    stale.view = ViewNumber(stale.view.0 - 1);
    assert!(refused(stale).await.starts_with("WrongView"));
    let mut elsewhere = good.clone();
    elsewhere.unit.unit = 0;
    assert!(refused(elsewhere).await.starts_with("Invalid"));
    let mut bent = good.clone();
    bent.checksums[1] ^= 1;
    assert!(refused(bent).await.starts_with("Busy"));
    let mut short = good.clone();
    short.checksums.pop();
    assert!(refused(short).await.starts_with("Invalid"));
    let mut odd = good.clone();
    odd.unit.length = 5;
    assert!(refused(odd).await.starts_with("Invalid"));
    let gone = cluster.ha.open_session().await.expect("a session").session;
    cluster.ha.close_session(gone).await.expect("closed");
    let mut late = good.clone();
    late.unit.fid.session = gone;
    let mut answers = Vec::new();
    // The node learns of the closing a moment later; the data does not fit the fid's checksums, so that nothing is written until then.
    cluster
        .eventually("a closed session is fenced", async |_: &ClusterMap| {
            answers.push(refused(late.clone()).await);
            answers.last().is_some_and(|answer| answer.starts_with("Fenced"))
        })
        .await;
}

async fn a_unit_survives_its_process(cluster: &mut Cluster, session: SessionId) {
    let map = cluster.map().await;
    let (info, data) = cluster.unit(session, 0, UNIT_BYTES);
    let write = cluster.write(&map, &info, &data);
    cluster.write_unit(&map, &write, &data).await.expect("written");
    let node = map.devices[&write.device].node.0;
    cluster.kill_node(node);
    cluster.start_node(node);
    cluster.all_online().await;
    // The link to the killed process may still have to break: a call on it fails, and the next one connects anew.
    cluster
        .eventually("the unit is read back", async |map: &ClusterMap| match cluster.read_unit(map, write.device, &info).await {
            Ok(read) => {
                assert!(read == data, "other bytes than were written");
                true
            }
            Err(error) => {
                assert!(error.contains("cannot be reached"), "{error}");
                false
            }
        })
        .await;
}

async fn a_flipped_byte_is_found_and_told(cluster: &Cluster, session: SessionId) {
    let map = cluster.map().await;
    let (info, data) = cluster.unit(session, 2, UNIT_BYTES);
    let write = cluster.write(&map, &info, &data);
    cluster.write_unit(&map, &write, &data).await.expect("written");
    let path = cluster.blocks(map.devices[&write.device].node.0);
    let all = std::fs::read(&path).expect("the blocks");
    let at = all.windows(4096).step_by(512).position(|window| window == &data[70_000 / 4096 * 4096..][..4096]).expect("the unit") * 512;
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("the blocks");
    file.write_at(&[!all[at]], at as u64).expect("a flipped byte");
    file.sync_all().expect("synced");
    assert!(cluster.read_unit(&map, write.device, &info).await.expect_err("damaged").starts_with("Corrupt"));
    cluster
        .eventually("HA counts the error", async |_: &ClusterMap| {
            let status = cluster.ha.status().await.expect("a status");
            status.device_errors.get(&write.device).is_some_and(|errors| *errors > 0)
        })
        .await;
}

async fn what_a_gone_writer_left_is_swept(cluster: &Cluster) {
    let catalogue = cluster.catalogue("objects").await;
    let session = cluster.ha.open_session().await.expect("a session").session;
    let map = cluster.map().await;
    let group = cluster.group_of(&map, &catalogue);
    let (info, data) = cluster.unit(session, 0, UNIT_BYTES);
    assert_eq!(info.fid.group, GroupId { pool: DATA, index: 0 });
    let row = RowKey { catalogue: catalogue.id, key: keys::pending(b"name", info.fid) };
    let value = PendingRow { session, slots: 3 }.to_value();
    cluster.execute(group, &[Op::Put { row: row.clone(), value, condition: Condition::Absent }]).await;
    let write = cluster.write(&map, &info, &data);
    cluster.write_unit(&map, &write, &data).await.expect("written");
    assert!(cluster.read(group, &row).await.is_some(), "an open session's fid stays");
    cluster.ha.close_session(session).await.expect("closed");
    let dead = RowKey { catalogue: catalogue.id, key: keys::dead(b"name", info.fid) };
    cluster
        .eventually("the fid is abandoned, deleted and forgotten", async |map: &ClusterMap| {
            let unit = cluster.read_unit(map, write.device, &info).await;
            unit.is_err_and(|refusal| refusal.starts_with("NoUnit"))
                && cluster.read(group, &row).await.is_none()
                && cluster.read(group, &dead).await.is_none()
        })
        .await;
}
