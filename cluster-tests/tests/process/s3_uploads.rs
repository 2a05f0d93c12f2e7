//! Uploads in parts: large files from real clients, what becomes of parts that nobody uses, and of uploads when processes die.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use client::{Client, Condition, Error, PartInfo, UploadId};
use cluster_tests::process::{Clients, Cluster, Pattern, Signal, first_difference, say, send};

use crate::s3::{S3, client};
use crate::utf8;

/// How old dead fids get here.
const DEAD_AGE: &[(&str, &str)] = &[("REDOUBT_DEAD_AGE_MS", "1000")];
/// How long what nobody uses may take to go.
const SWEPT: Duration = Duration::from_secs(60);
const BUCKET: &str = "films";
const MIB: usize = 1024 * 1024;

#[test]
fn rclone_and_s3cmd_move_files_in_parts_and_past_a_killed_node() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let s3 = S3::of(&cluster)?;
    let (rclone, s3cmd) = (s3.rclone(&cluster.dir)?, s3.s3cmd(&cluster.dir, &s3.secret_key)?);
    let rclone = |args: &[&str]| {
        let cut = ["--s3-upload-cutoff", "5Mi", "--s3-chunk-size", "5Mi", "--retries", "1"];
        client("rclone", &rclone, &[&cut, args].concat())?.success()
    };
    let s3cmd = |args: &[&str]| client("s3cmd", &s3cmd, args)?.success();
    let (root, back) = (cluster.dir.join("files"), cluster.dir.join("back"));
    fs::create_dir_all(&root)?;
    for (number, bytes) in [5 * MIB as u64, 5 * MIB as u64 + 1, 31_457_283].into_iter().enumerate() {
        Pattern(number as u64).write(&root.join(format!("file-{number}")), bytes)?;
    }
    rclone(&["copy", utf8(&root), "n0:films/a"])?;
    rclone(&["check", "--download", utf8(&root), "n1:films/a"])?;
    // An object of parts is a source like any other, whole and in parts.
    rclone(&["copyto", "n1:films/a/file-2", "n1:films/copy", "--s3-copy-cutoff", "5Mi"])?;
    cluster.kill("node-2")?;
    Pattern(9).write(&root.join("file-2"), 20_000_000)?;
    rclone(&["copy", utf8(&root), "n0:films/a"])?;
    rclone(&["check", "--download", utf8(&root), "n2:films/a"])?;
    cluster.start("node-2")?;
    let large = cluster.dir.join("large");
    Pattern(7).write(&large, 40_000_000)?;
    s3cmd(&["put", utf8(&large), "s3://films/large"])?;
    s3cmd(&["get", "s3://films/large", utf8(&back)])?;
    ensure!(first_difference(&large, &back)?.is_none(), "it came back different");
    rclone(&["copyto", "n2:films/copy", utf8(&back), "--ignore-times"])?;
    Pattern(2).write(&large, 31_457_283)?;
    ensure!(first_difference(&large, &back)?.is_none(), "the copy of an object of parts is different");
    let left = s3cmd(&["multipart", "s3://films"])?;
    ensure!(!left.contains("large") && !left.contains("file-"), "no upload is left: {left}");
    Ok(())
}

async fn part(client: &Client, name: &[u8], upload: UploadId, number: u16, bytes: usize) -> Result<PartInfo, Error> {
    let bytes = Pattern(u64::from(number)).bytes(bytes);
    client.put_part(BUCKET, name, upload, number, &bytes[..], Some(bytes.len() as u64), || Some(Vec::new())).await
}

#[test]
fn parts_that_no_object_has_leave_no_space_whatever_became_of_their_upload() -> Result<()> {
    let cluster = Cluster::up_with(3, &[], DEAD_AGE)?;
    let s3 = S3::of(&cluster)?;
    let s3cmd = s3.s3cmd(&cluster.dir, &s3.secret_key)?;
    let s3cmd = |args: &[&str]| client("s3cmd", &s3cmd, args)?.success();
    s3cmd(&["mb", "s3://films"])?;
    let clients = Clients::connect(&cluster, Duration::from_secs(15))?;
    let of = clients.client();
    let expected = clients.wait(async {
        let (done, given_up) = (of.begin_upload(BUCKET, b"done", Vec::new()).await?, of.begin_upload(BUCKET, b"left", Vec::new()).await?);
        let mut parts = Vec::new();
        for number in 1..=3 {
            parts.push(part(of, b"done", done, number, 2 * MIB).await?);
            part(of, b"left", given_up, number, MIB).await?;
        }
        // The second is replaced, the third left out.
        parts[1] = part(of, b"done", done, 2, MIB + 5).await?;
        let seen = of.upload(BUCKET, b"done", done).await?.version;
        let made = of.complete_upload(BUCKET, b"done", done, seen, &parts[..2], Vec::new(), Condition::Always).await?;
        ensure!(made.is_some_and(|info| info.size == 3 * MIB as u64 + 5));
        Ok(given_up)
    })?;
    let id: String = expected.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let listed = s3cmd(&["multipart", "s3://films"])?;
    ensure!(listed.contains(&id) && listed.contains("s3://films/left") && !listed.contains("s3://films/done"), "{listed}");
    let parts = s3cmd(&["listmp", "s3://films/left", &id])?;
    ensure!(parts.matches("1048576").count() == 3, "{parts}");
    s3cmd(&["abortmp", "s3://films/left", &id])?;
    ensure!(!s3cmd(&["multipart", "s3://films"])?.contains(&id));
    // 4+2 units of each MiB that was begun: those of the object's two parts are kept.
    units_become(&clients, "what no object has goes", |units| units == 4 * 6)?;
    let whole = clients.wait(async { of.get(BUCKET, b"done", None).await?.bytes().await })?;
    ensure!(whole == [Pattern(1).bytes(2 * MIB), Pattern(2).bytes(MIB + 5)].concat(), "the object is not its parts");
    // An upload that nobody ends goes with its bucket.
    let open = clients.wait(of.begin_upload(BUCKET, b"open", Vec::new()))?;
    clients.wait(part(of, b"open", open, 1, MIB))?;
    clients.wait(of.delete(BUCKET, b"done", Condition::Always))?;
    units_become(&clients, "only the part of the open upload is left", |units| units == 6)?;
    s3cmd(&["rb", "s3://films"])?;
    units_become(&clients, "nothing is left", |units| units == 0)
}

fn units_become(clients: &Clients, what: &str, is_right: impl Fn(u64) -> bool) -> Result<()> {
    let began = Instant::now();
    loop {
        let usage = clients.usage()?;
        let units: u64 = usage.iter().map(|device| device.units).sum();
        if is_right(units) {
            say(format!("{what}: {units} units after {} ms", began.elapsed().as_millis()));
            return Ok(());
        }
        if began.elapsed() > SWEPT {
            bail!("{what}: {units} units after {SWEPT:?}: {usage:?}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn an_upload_outlives_its_gateway_and_every_node_and_completes_once() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let clients = Clients::connect(&cluster, Duration::from_secs(20))?;
    let of = clients.client();
    clients.wait(of.create(client::CatalogueKind::Bucket, BUCKET, None))?;
    let upload = clients.wait(of.begin_upload(BUCKET, b"film", Vec::new()))?;
    for number in 1..=4 {
        clients.wait(part(of, b"film", upload, number, 300_000))?;
        let pids: Vec<u32> = cluster.pids()?.values().flat_map(|pids| pids.both()).collect();
        if number == 2 {
            send(&pids, Signal::KILL)?;
            cluster.ok(&["dev", "up"])?;
        }
    }
    // Several complete it at once, and one more comes later.
    let done = clients.wait(async {
        let (seen, parts) = (of.upload(BUCKET, b"film", upload).await?.version, of.parts(BUCKET, b"film", upload, 0, 100).await?.0);
        let complete = || of.complete_upload(BUCKET, b"film", upload, seen, &parts, Vec::new(), Condition::Always);
        let mut done = futures::future::try_join_all((0..4).map(|_| complete())).await?;
        done.push(complete().await?);
        Ok::<_, Error>(done)
    })?;
    ensure!(done.iter().flatten().count() == 1, "{} completions of five", done.iter().flatten().count());
    let whole = clients.wait(async { of.get(BUCKET, b"film", None).await?.bytes().await })?;
    ensure!(whole == (1..=4).flat_map(|number| Pattern(number).bytes(300_000)).collect::<Vec<_>>(), "the object is not its parts");
    Ok(())
}
