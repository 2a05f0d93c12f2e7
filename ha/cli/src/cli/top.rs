//! `ha top`: the cluster on a screen that stays up to date.
//!
//! Whatever is shown comes from HA alone, in one answer ([`Seen`]), so that it needs no other way into the cluster than every verb does; what
//! goes on is the difference of two answers. Each answer has its deadline, keys work meanwhile, and where none comes the screen says so.

mod screen;
mod terminal;
mod view;

use std::io::IsTerminal;
use std::time::Duration;

use ha_api::seen::Seen;
use tokio::signal::unix::{SignalKind, signal};

use crate::connect::Ha;
use crate::exit::{Exit, Failure};
use crate::output::{Format, coloured, print};
use terminal::Terminal;
use view::View;

/// `ha top`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Print one screen as text, and end; so it is where standard output is no terminal
    #[arg(long)]
    pub once: bool,
    /// How often it is asked
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS", value_parser = seconds)]
    pub every: f64,
}

/// Events that are asked for: more than a screen shows.
const EVENTS: u32 = 100;
/// How long HA is asked for one screen, at most.
const PATIENCE: Duration = Duration::from_secs(3);
/// How wide a page is that goes to no terminal.
const PAGE_WIDTH: u16 = 120;
/// How long the time on the screen may stand still.
const SECOND: Duration = Duration::from_secs(1);

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "no number".to_string())?;
    if (0.2..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("0.2 to 3600 seconds".into()) }
}

/// Runs the verb.
pub async fn run(ha: &Ha, format: Format, args: &Args) -> Result<(), Failure> {
    let every = Duration::from_secs_f64(args.every);
    let ha = &ha.within(PATIENCE)?;
    if format == Format::Json || args.once || !std::io::stdout().is_terminal() {
        return once(ha, format, every).await;
    }
    let failed = |e: std::io::Error| Failure::new(Exit::Failure, format!("the terminal: {e}"));
    let mut ends = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()].map(signal).into_iter();
    let mut end = || ends.next().expect("three").map_err(failed);
    let (mut terminate, mut hangup, mut interrupt) = (end()?, end()?, end()?);
    let mut resized = signal(SignalKind::window_change()).map_err(failed)?;
    let mut terminal = Terminal::begin().map_err(failed)?;
    let mut view = View::default();
    let mut second = tokio::time::interval(SECOND);
    let mut asking = Box::pin(ask_after(ha, Duration::ZERO));
    loop {
        let (width, height) = terminal.size();
        terminal.show(&screen::draw(&view, width, height), coloured()).map_err(failed)?;
        tokio::select! {
            answer = &mut asking => {
                view.take(answer);
                asking = Box::pin(ask_after(ha, every));
            }
            key = terminal.key() => {
                if view.press(key.map_err(failed)?) {
                    return Ok(());
                }
            }
            _ = second.tick() => {}
            _ = resized.recv() => {}
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

/// One page, with what went on meanwhile.
async fn once(ha: &Ha, format: Format, every: Duration) -> Result<(), Failure> {
    let mut seen = glance(ha).await?;
    // Who does not answer a second time has answered once.
    if let Ok(later) = ask_after(ha, every).await {
        seen = later.since(&seen);
    }
    match format {
        Format::Json => print(&serde_json::to_string(&seen).map_err(|e| Failure::new(Exit::Failure, e.to_string()))?),
        Format::Text => {
            let width = if std::io::stdout().is_terminal() { terminal::size().0 } else { PAGE_WIDTH };
            let mut view = View::default();
            view.take(Ok(seen));
            let lines = screen::draw(&view, width, u16::MAX);
            print(&lines.iter().map(|line| line.painted(coloured()).trim_end().to_string()).collect::<Vec<_>>().join("\n"))
        }
    }
}

async fn ask_after(ha: &Ha, pause: Duration) -> Result<Seen, Failure> {
    tokio::time::sleep(pause).await;
    glance(ha).await
}

/// The cluster as HA says that it is.
async fn glance(ha: &Ha) -> Result<Seen, Failure> {
    let events = async { ha.ask(async |client| client.events(0, EVENTS).await).await };
    let (status, events) = tokio::join!(super::status::ask(ha), events);
    Ok(Seen::of(&status?, &events?.0))
}
