//! `redoubt-node dtm log show|replay|chart DIR`: what a device holds of DTM0, while its process does not run.
//!
//! `show` prints states of replicas and records of logs; `replay` makes the rows anew from the log and compares them with those that are
//! there; `chart` draws how far each log is pruned, applied, STABLE and written. Nothing on the device is changed but what its opening
//! mends by itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use dtm::ReplicaState;
use serde_json::{Value, json};
use storage::{Device, OpenOptions};
use types::record::{Record, Row, RowKey, Write};
use types::{GroupId, Seq};

/// Bytes of a log that are read at once.
const PAGE_BYTES: usize = 1024 * 1024;
/// Columns of a drawing.
const COLUMNS: u64 = 60;

/// What is done with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Verb {
    /// Prints states and records
    Show,
    /// Makes the rows anew from the log, and compares
    Replay,
    /// Draws how far each log is pruned, applied, STABLE and written
    Chart,
}

/// Arguments of `dtm log`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to do
    verb: Verb,
    /// The directory of the device
    device: PathBuf,
    /// Only this group, as 1.17
    #[arg(long)]
    group: Option<GroupId>,
    /// Records from this one on
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Records up to this one
    #[arg(long, default_value_t = u64::MAX)]
    to: u64,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// One group of a device.
struct Held {
    group: GroupId,
    state: ReplicaState,
    records: Vec<Record>,
}

/// Does it; an error says what is wrong with the device, or what differs.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let device = open(&arguments.device)?;
    let mut wrong = Vec::new();
    for (group, state) in device.meta().replica_states()? {
        if arguments.group.is_some_and(|only| only != group) {
            continue;
        }
        let state = ReplicaState::decode(&state).with_context(|| format!("the state of the replica of group {group}"))?;
        let held = Held { group, state, records: read(&device, group)? };
        match arguments.verb {
            Verb::Show => show(&held, arguments),
            Verb::Chart => println!("{}", held.chart()),
            Verb::Replay => {
                let found = held.differences(|key| Ok(device.meta().row(group, key)?))?;
                println!("{}", held.replayed(found.len()));
                wrong.extend(found.into_iter().map(|what| format!("group {group}: {what}")));
            }
        }
    }
    wrong.iter().for_each(|what| println!("{what}"));
    if wrong.is_empty() { Ok(()) } else { bail!("{} rows are not what the log makes of them", wrong.len()) }
}

fn open(dir: &Path) -> anyhow::Result<Device> {
    let place = || dir.display().to_string();
    let identity = Device::probe(dir).with_context(place)?.with_context(|| format!("{}: no device lies there", place()))?;
    Device::open(dir, &OpenOptions::new(identity.cluster, identity.device)).with_context(place)
}

fn read(device: &Device, group: GroupId) -> anyhow::Result<Vec<Record>> {
    let Some((mut next, last)) = device.meta().log_bounds(group) else { return Ok(Vec::new()) };
    let mut records = Vec::new();
    while next <= last {
        let page = device.meta().log(group, next..=last, PAGE_BYTES)?;
        let Some(end) = page.last().map(|record| record.seq) else { break };
        records.extend(page);
        next = end.next();
    }
    Ok(records)
}

fn show(held: &Held, arguments: &Arguments) {
    let Held { group, state, records } = held;
    let wanted = |record: &&Record| (arguments.from..=arguments.to).contains(&record.seq.0);
    if arguments.json {
        let records: Vec<Value> = records.iter().filter(wanted).map(record_json).collect();
        let state = json!({
            "promised": state.promised, "normal": state.normal, "floor": state.floor.seq, "last": state.last, "stable": state.stable,
            "applied": state.applied, "copying": state.copying,
        });
        println!("{}", json!({"group": group.to_string(), "state": state, "records": records}));
        return;
    }
    let normal = state.normal.map_or_else(|| "blank".to_string(), |view| format!("in line with view {view}"));
    let copying = if state.copying { ", a copy is coming in" } else { "" };
    println!(
        "group {group}: promised {}, {normal}, pruned up to {}, applied {}, stable {}, {} records{copying}",
        state.promised,
        state.floor.seq,
        state.applied,
        state.stable,
        records.len()
    );
    for record in records.iter().filter(wanted) {
        println!("  {:>8} view {:<8} {} at {}: {}", record.seq.0, record.view.0, record.dtx, record.at.0, writes(record));
    }
}

fn writes(record: &Record) -> String {
    let words = record.writes.iter().map(|write| match write {
        Write::Put { row, value } => format!("put {} ({} bytes)", key(row), value.len()),
        Write::Delete { row } => format!("delete {}", key(row)),
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() { format!("{:?}", record.outcome) } else { words.join(", ") }
}

fn key(row: &RowKey) -> String {
    format!("{}/{}", row.catalogue, row.key.escape_ascii())
}

fn record_json(record: &Record) -> Value {
    json!({
        "seq": record.seq, "view": record.view, "at": record.at, "dtx": record.dtx.to_string(), "writes": writes(record),
        "outcome": format!("{:?}", record.outcome),
    })
}

impl Held {
    /// What each row that the log writes is after its last applied record, against what is there. What was pruned is in the rows alone.
    fn differences(&self, row: impl Fn(&RowKey) -> anyhow::Result<Option<Row>>) -> anyhow::Result<Vec<String>> {
        let mut expected: BTreeMap<&RowKey, Option<(Seq, &[u8])>> = BTreeMap::new();
        if self.state.copying {
            return Ok(Vec::new());
        }
        let mut before: Option<Seq> = None;
        let mut wrong = Vec::new();
        for record in &self.records {
            if before.is_some_and(|before| record.seq != before.next()) {
                wrong.push(format!("the log has a hole before {}", record.seq));
            }
            before = Some(record.seq);
            for write in record.writes.iter().filter(|_| record.seq <= self.state.applied) {
                match write {
                    Write::Put { row, value } => expected.insert(row, Some((record.seq, value))),
                    Write::Delete { row } => expected.insert(row, None),
                };
            }
        }
        for (name, expected) in expected {
            let found = row(name)?;
            let same = match (&found, expected) {
                (None, None) => true,
                (Some(row), Some((version, value))) => row.version == version && row.value == value,
                _ => false,
            };
            if !same {
                let found = found.map(|row| (row.version, row.value.len()));
                let expected = expected.map(|(version, value)| (version, value.len()));
                wrong.push(format!("{} is {found:?} (version, bytes), the log makes {expected:?}", key(name)));
            }
        }
        Ok(wrong)
    }

    fn replayed(&self, wrong: usize) -> String {
        let applied = self.records.iter().filter(|record| record.seq <= self.state.applied).count();
        format!("group {}: {applied} records replayed, {wrong} differences", self.group)
    }

    /// A line: `=` pruned, `#` applied, `-` STABLE, `.` written and not known to be STABLE.
    fn chart(&self) -> String {
        let last = self.records.last().map_or(self.state.floor.seq, |record| record.seq).0.max(self.state.applied.0);
        let marks = (1..=COLUMNS).map(|column| {
            // The last record of the column's part of the log.
            let seq = last * column / COLUMNS;
            match seq {
                _ if last == 0 => ' ',
                _ if seq <= self.state.floor.seq.0 => '=',
                _ if seq <= self.state.applied.0 => '#',
                _ if seq <= self.state.stable.0 => '-',
                _ => '.',
            }
        });
        let marks: String = marks.collect();
        format!("{:>8} v{:<8} |{marks}| {last}", self.group.to_string(), self.state.promised.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::record::{Coordination, Outcome, Position};
    use types::{CatalogueId, DtxId, HaTime, ViewNumber};

    fn name(number: u8) -> RowKey {
        RowKey { catalogue: CatalogueId(1), key: vec![number] }
    }

    fn record(seq: u64, write: Write) -> Record {
        Record {
            seq: Seq(seq),
            view: ViewNumber(3),
            at: HaTime(0),
            dtx: DtxId::default(),
            writes: vec![write],
            outcome: Outcome::Done { version: Seq(seq), previous: Vec::new(), versioning: types::object::Versioning::Off },
            coordination: Coordination::Local,
        }
    }

    fn held() -> Held {
        let put = |number, value: u8| Write::Put { row: name(number), value: vec![value] };
        let records = vec![record(11, put(1, 7)), record(12, put(2, 8)), record(13, Write::Delete { row: name(2) }), record(14, put(1, 9))];
        let floor = Position { seq: Seq(10), view: ViewNumber(2) };
        let state = ReplicaState { floor, applied: Seq(13), stable: Seq(13), last: Seq(14), ..ReplicaState::default() };
        Held { group: GroupId::default(), state, records }
    }

    #[test]
    fn a_row_that_is_not_what_the_log_makes_of_it_is_found() {
        let good = |key: &RowKey| Ok((*key == name(1)).then(|| Row { version: Seq(11), value: vec![7] }));
        assert_eq!(held().differences(good).expect("reads"), [""; 0]);
        let back = |_: &RowKey| Ok(Some(Row { version: Seq(11), value: vec![7] }));
        assert_eq!(held().differences(back).expect("reads").len(), 1, "one that was deleted is there");
        let other = |key: &RowKey| Ok((*key == name(1)).then(|| Row { version: Seq(11), value: vec![6] }));
        assert_eq!(held().differences(other).expect("reads").len(), 1);
        let mut hole = held();
        hole.records.remove(1);
        assert!(hole.differences(good).expect("reads")[0].contains("hole"));
    }

    #[test]
    fn the_chart_shows_what_is_pruned_applied_and_not_stable() {
        let chart = held().chart();
        assert!(chart.contains("==##") && chart.ends_with("#.| 14"), "{chart}");
    }
}
