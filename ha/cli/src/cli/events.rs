//! `ha events`: the history of the cluster.

use std::time::Duration;

use ha_api::EventLine;
use serde_json::{Value, json};

use crate::cli::{note, report};
use crate::connect::Ha;
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Format, Tone, coloured, paint, print, show, table};
use crate::time::local;

/// `ha events`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The newest so many
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    /// Only those after this entry of HA's log
    #[arg(long, default_value_t = 0, value_name = "INDEX")]
    pub after: u64,
    /// Go on with what happens, until interrupted
    #[arg(long)]
    pub follow: bool,
}

/// How often `--follow` asks.
const FOLLOW: Duration = Duration::from_millis(500);
/// Most events taken at once by `--follow`.
const FOLLOW_LIMIT: u32 = 10_000;

/// Runs the verb.
pub async fn run(ha: &Ha, format: Format, args: &Args) -> Result<(), Failure> {
    let events = ask(ha, args.after, args.limit).await?;
    if !args.follow {
        let all: Vec<Value> = events.iter().map(value).collect();
        return show(format, &json!(all), |coloured| page(&events, coloured));
    }
    let mut after = args.after;
    let mut next = events;
    let mut every = tokio::time::interval(FOLLOW);
    loop {
        for event in &next {
            let line = match format {
                Format::Json => value(event).to_string(),
                Format::Text => line(event, coloured()),
            };
            print(&line)?;
        }
        after = next.last().map_or(after, |event| event.index);
        every.tick().await;
        next = match ha.ask(async |client| client.events(after, FOLLOW_LIMIT).await).await {
            Ok((events, _)) => events,
            Err(failure) if failure.exit == Exit::Unavailable => {
                report(&failure, format);
                Vec::new()
            }
            Err(failure) => return Err(failure),
        };
    }
}

/// The newest events after an entry. Where HA has no majority they are what one daemon has, and standard error says so.
pub async fn ask(ha: &Ha, after: u64, limit: u32) -> Result<Vec<EventLine>, Failure> {
    let (events, confirmed) = ha.ask(async |client| client.events(after, limit).await).await?;
    if !confirmed {
        note("HA has no majority: these are the events that one daemon has, and there may be others (`ha status`)");
    }
    Ok(events)
}

/// An event for programs.
pub fn value(event: &EventLine) -> Value {
    json!({
        "index": event.index,
        "epoch": event.epoch.0,
        "ha_time_ms": event.at.0,
        "unix_ms": event.wall_ms,
        "subject": event.subject,
        "what": event.what,
        "cause": event.cause,
    })
}

fn tone(event: &EventLine) -> Tone {
    let ends = |word: &str| event.what.ends_with(word);
    if ends("-> ONLINE") {
        Tone::Good
    } else if ends("-> RECOVERING") {
        Tone::Warn
    } else if ends("-> TRANSIENT") || ends("-> FAILED") || event.what.contains("errors") {
        Tone::Bad
    } else {
        Tone::Plain
    }
}

fn page(events: &[EventLine], coloured: bool) -> String {
    let rows: Vec<Vec<Cell>> = events
        .iter()
        .map(|e| {
            let what = crate::output::toned(&e.what, tone(e));
            vec![Cell::from(local(e.wall_ms)), Cell::from(e.index), Cell::from(&e.subject), what, Cell::from(&e.cause)]
        })
        .collect();
    table(&["TIME", "INDEX", "SUBJECT", "WHAT", "CAUSE"], &rows, coloured)
}

fn line(event: &EventLine, coloured: bool) -> String {
    let what = paint(&event.what, tone(event), coloured);
    format!("{}  {}  {}  {what}  {}", local(event.wall_ms), event.index, event.subject, event.cause)
}
