//! The screen of `ha top`: what is known, on so many columns and rows. Pure; states are words, colours come on top of them.

use ha_api::seen::{DeviceSeen, NodeSeen, Rate, Rates, Seen};

use super::view::{Sort, View};
use crate::cli::repair;
use crate::health::tone_of_cluster;
use crate::output::{Tone, bytes, paint, tone_of_state};
use crate::time::{clock, span};

/// Events that a screen has at least, where there are any.
const EVENTS_MIN: usize = 3;
/// Warnings on a screen.
const WARNINGS_MAX: usize = 3;
/// Longest bar.
const BAR_MAX: usize = 40;
/// A device with less free of a hundred parts is nearly full, and with less than half of that full.
const NEARLY_FULL: f64 = 0.9;

/// A line: pieces with their tones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    pieces: Vec<(String, Tone)>,
    heading: bool,
}

impl Line {
    fn new() -> Self {
        Self::default()
    }

    fn heading(text: impl Into<String>) -> Self {
        Self { heading: true, ..Self::new().and(text, Tone::Plain) }
    }

    fn and(mut self, text: impl Into<String>, tone: Tone) -> Self {
        // What HA says in words may hold anything.
        let text: String = text.into().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        self.pieces.push((text, tone));
        self
    }

    fn plain(self, text: impl Into<String>) -> Self {
        self.and(text, Tone::Plain)
    }

    fn cut(mut self, width: usize) -> Self {
        let mut left = width;
        for (text, _) in &mut self.pieces {
            let length = text.chars().count();
            if length > left {
                *text = text.chars().take(left).collect();
            }
            left -= length.min(left);
        }
        self
    }

    /// As it goes to a terminal.
    pub fn painted(&self, coloured: bool) -> String {
        let text: String = self.pieces.iter().map(|(text, tone)| paint(text, *tone, coloured)).collect();
        if self.heading && coloured { format!("\x1b[1m{text}\x1b[0m") } else { text }
    }
}

/// A column of a table.
struct Column {
    title: &'static str,
    width: usize,
    right: bool,
}

const fn left(title: &'static str, width: usize) -> Column {
    Column { title, width, right: false }
}

const fn right(title: &'static str, width: usize) -> Column {
    Column { title, width, right: true }
}

fn fit(text: &str, column: &Column) -> String {
    let text: String = text.chars().take(column.width).collect();
    if column.right { format!("{text:>0$}", column.width) } else { format!("{text:<0$}", column.width) }
}

fn row(columns: &[Column], cells: Vec<(String, Tone)>) -> Line {
    columns.iter().zip(cells).fold(Line::new(), |line, (column, (text, tone))| line.and(fit(&text, column), tone).plain("  "))
}

fn title(columns: &[Column]) -> Line {
    Line::heading(columns.iter().map(|column| fit(column.title, column) + "  ").collect::<String>())
}

fn cell(text: impl ToString) -> (String, Tone) {
    (text.to_string(), Tone::Plain)
}

/// The screen. With `u16::MAX` rows it is as long as what there is.
pub fn draw(view: &View, width: u16, height: u16) -> Vec<Line> {
    let (width, height) = (usize::from(width), usize::from(height));
    let mut lines = match (&view.seen, view.help) {
        (_, true) => help(),
        (None, false) => nothing(view),
        (Some(seen), false) => cluster(view, seen, width, height),
    };
    lines.truncate(height);
    lines.into_iter().map(|line| line.cut(width)).collect()
}

fn nothing(view: &View) -> Vec<Line> {
    let mut lines = vec![Line::heading("ha top")];
    match &view.failure {
        None => lines.push(Line::new().plain("asks HA ...")),
        Some(why) => {
            lines.push(Line::new().and("NO ANSWER; it is asked again", Tone::Bad));
            lines.extend(why.split(": ").map(|part| Line::new().plain(part)));
        }
    }
    lines.push(Line::new().plain("q quits"));
    lines
}

fn help() -> Vec<Line> {
    let mut lines = vec![Line::heading("ha top: keys"), Line::new()];
    for (key, what) in [
        ("q  Esc", "quit"),
        ("s", "order of nodes and devices: name, trouble, fullest, busiest"),
        ("p  space", "stand still, and go on"),
        ("j k  arrows", "devices further down or up, with PgUp and PgDn by ten"),
        ("h  ?", "this, and back"),
    ] {
        lines.push(Line::new().plain(format!("{key:<12}  {what}")));
    }
    lines.push(Line::new());
    for words in [
        "MEAN and P99 are of requests to storage processes since the screen before; P99 is the end of",
        "its step, and steps are powers of two. READ/S and WRITE/S are of units, with parity and repair.",
        "HA decides where a majority of the daemons that are voters answer.",
    ] {
        lines.push(Line::new().plain(words));
    }
    lines
}

fn cluster(view: &View, seen: &Seen, width: usize, height: usize) -> Vec<Line> {
    let mut lines = head(view, seen, width);
    lines.extend(traffic(seen));
    lines.extend(courses(view, seen));
    let (nodes, devices, events) = (nodes(view, seen), devices(view, seen, width), events(seen));
    // Headings of three tables.
    let left = height.saturating_sub(lines.len() + 3);
    let for_events = EVENTS_MIN.min(events.len());
    let for_nodes = nodes.len().min(left.saturating_sub(for_events + 2));
    let for_devices = devices.len().min(left.saturating_sub(for_events + for_nodes));
    let for_events = events.len().min(left.saturating_sub(for_nodes + for_devices));
    lines.push(title(&NODE));
    lines.extend(some(nodes, 0, for_nodes, "nodes"));
    lines.push(title(&device_columns(width)));
    lines.extend(some(devices, view.scrolled, for_devices, "devices"));
    lines.push(Line::heading("EVENTS"));
    // At the end of the screen stands the newest.
    let old = events.len() - for_events;
    lines.extend(events.into_iter().skip(old));
    lines
}

/// So many of the lines, and in place of the last how many there are beyond.
fn some(lines: Vec<Line>, from: usize, count: usize, what: &str) -> Vec<Line> {
    let all = lines.len();
    let from = from.min(all.saturating_sub(count));
    let mut shown: Vec<Line> = lines.into_iter().skip(from).take(count).collect();
    let beyond = all - from - shown.len();
    if beyond > 0 && count > 1 {
        shown.pop();
        shown.push(Line::new().plain(format!("... {} more {what}", beyond + 1)));
    }
    shown
}

fn head(view: &View, seen: &Seen, width: usize) -> Vec<Line> {
    let tone = tone_of_cluster(seen.health);
    let mut first = Line::heading("Redoubt ").and(seen.health.to_uppercase(), tone).plain(format!(
        "  {}  leader {}  epoch {}  sort {}",
        clock(seen.unix_ms),
        seen.leader.as_deref().unwrap_or("none"),
        seen.epoch,
        view.sort.word(),
    ));
    if view.paused {
        first = first.and("  PAUSED", Tone::Warn);
    }
    let mut lines = vec![first.plain("  (h: help)")];
    if let Some(why) = &view.failure {
        let age = view.answered.map_or_else(|| "-".into(), |at| span(at.elapsed().as_millis() as u64));
        lines.push(Line::new().and(format!("NO ANSWER; what follows is {age} old: {why}"), Tone::Bad));
    } else if !seen.confirmed {
        let who = &seen.answered_by;
        lines.push(Line::new().and(format!("NO MAJORITY of HA; what follows is what {who} last knew, and may be old"), Tone::Bad));
    }
    let space = seen.space;
    let share = share(space.used_bytes, space.used_bytes + space.free_bytes);
    lines.push(Line::new().plain("space ").and(bar(share, (width / 4).min(BAR_MAX)), tone_of_share(share)).plain(format!(
        " {:.0} %  {} used, {} free on {} of {} devices",
        share * 100.0,
        bytes(space.used_bytes),
        bytes(space.free_bytes),
        space.devices_that_say,
        space.devices
    )));
    let pools = seen
        .pools
        .iter()
        .map(|pool| {
            format!("{} {} {}", pool.name, pool.scheme, if pool.whole == pool.groups && pool.groups > 0 { "whole" } else { &pool.words })
        })
        .collect::<Vec<_>>()
        .join("; ");
    let tone = if seen.pools.iter().any(|pool| pool.unavailable > 0) {
        Tone::Bad
    } else if seen.pools.iter().any(|pool| pool.degraded > 0) {
        Tone::Warn
    } else {
        Tone::Plain
    };
    lines.push(Line::new().plain("pools ").and(pools, tone));
    lines.extend(seen.warnings.iter().take(WARNINGS_MAX).map(|warning| Line::new().and(format!("warning: {warning}"), Tone::Warn)));
    if seen.warnings.len() > WARNINGS_MAX {
        let more = seen.warnings.len() - WARNINGS_MAX;
        lines.push(Line::new().and(format!("... {more} more warnings: `ha status`"), Tone::Warn));
    }
    lines
}

const TRAFFIC: [Column; 5] = [left("REQUESTS", 14), right("PER SECOND", 10), right("BYTES/S", 12), right("MEAN", 10), right("P99", 10)];

fn traffic(seen: &Seen) -> Vec<Line> {
    let mut lines = vec![title(&TRAFFIC)];
    let none = Rates::default();
    let kinds = &seen.rates.as_ref().unwrap_or(&none).kinds;
    if kinds.is_empty() {
        lines.push(Line::new().plain("-"));
    }
    let ms = |ms: Option<f64>| cell(ms.map_or_else(|| "-".into(), |ms| format!("{ms:.1} ms")));
    lines.extend(kinds.iter().map(|rate| {
        let bytes_of = if rate.bytes_per_second > 0.0 { bytes(rate.bytes_per_second as u64) } else { "-".into() };
        row(&TRAFFIC, vec![cell(rate.kind), cell(number(rate.per_second)), cell(bytes_of), ms(rate.mean_ms), ms(rate.p99_ms)])
    }));
    lines
}

fn number(value: f64) -> String {
    if value < 10.0 && value > 0.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// Repair and rebalance.
fn courses(view: &View, seen: &Seen) -> Vec<Line> {
    let of = &seen.repair;
    let mut line = Line::new().plain("repair ").and(of.state, repair::tone(of.state));
    if of.slots_left > 0 {
        let eta = of.eta_ms.or_else(|| view.repair.eta_ms()).map_or_else(|| "-".into(), span);
        line = line.plain(format!(
            " {} {:.0} %  {} slots, about {}, {}/s, {eta} left",
            bar(view.repair.done(), 10),
            view.repair.done() * 100.0,
            of.slots_left,
            bytes(of.bytes_left),
            bytes(of.bytes_per_second)
        ));
    }
    let of = &seen.rebalance;
    let tone = if of.state == "idle" { Tone::Good } else { Tone::Warn };
    let mut second = Line::new().plain("rebalance ").and(of.state, tone);
    if of.state != "idle" {
        let places = of.to_move.map_or_else(|| "-".into(), |count| count.to_string());
        let eta = view.rebalance.eta_ms().map_or_else(|| "-".into(), span);
        second = second.plain(format!(
            " {} {:.0} %  {places} places to move, {} being filled, {eta} left",
            bar(view.rebalance.done(), 10),
            view.rebalance.done() * 100.0,
            of.filling
        ));
    }
    if seen.repair.slots_left == 0 || of.state == "idle" {
        // Both fit.
        line = line.plain("   ");
        line.pieces.extend(second.pieces);
        return vec![line];
    }
    vec![line, second]
}

const NODE: [Column; 8] = [
    left("NODE", 10),
    left("STATE", 10),
    right("FOR", 8),
    left("HA", 9),
    right("DEV", 5),
    right("REQ/S", 6),
    right("READ/S", 9),
    right("WRITE/S", 9),
];

fn rate_of(rates: Option<&Rates>, of: impl Fn(&Rate) -> f64, kinds: &[usize]) -> Option<f64> {
    let rates = rates?;
    Some(kinds.iter().filter_map(|kind| rates.kinds.get(*kind)).map(of).sum())
}

fn nodes(view: &View, seen: &Seen) -> Vec<Line> {
    let mut nodes: Vec<&NodeSeen> = seen.nodes.iter().collect();
    let all = |node: &NodeSeen| rate_of(node.rates.as_ref(), |rate| rate.per_second, &[0, 1, 2, 3]).unwrap_or(0.0);
    let used = |node: &NodeSeen| share(node.space.used_bytes, node.space.bytes);
    match view.sort {
        Sort::Name => {}
        Sort::Trouble => nodes.sort_by_key(|node| node.state == "ONLINE" && node.daemon_reachable && node.devices == node.devices_online),
        Sort::Fullest => nodes.sort_by(|a, b| used(b).total_cmp(&used(a))),
        Sort::Busiest => nodes.sort_by(|a, b| all(b).total_cmp(&all(a))),
    }
    nodes.into_iter().map(node_row).collect()
}

fn node_row(node: &NodeSeen) -> Line {
    let rates = node.rates.as_ref();
    let bytes_of = |kind| rate_of(rates, |rate| rate.bytes_per_second, &[kind]).map_or_else(|| "-".into(), |value| short(value as u64));
    let (state, tone) = match (node.maintenance, node.removing) {
        (true, _) => (format!("{}*MNT", &node.state.get(..7).unwrap_or(&node.state)), Tone::Warn),
        (false, true) => (format!("{}*OUT", &node.state.get(..7).unwrap_or(&node.state)), Tone::Warn),
        _ => (node.state.clone(), tone_of_state(&node.state)),
    };
    let role = if node.voter { "voter" } else { "learner" };
    let ha = if node.daemon_reachable { (role.to_string(), Tone::Plain) } else { ("no answer".into(), Tone::Bad) };
    let devices = if node.devices == node.devices_online { Tone::Plain } else { Tone::Bad };
    let requests = rate_of(rates, |rate| rate.per_second, &[0, 1, 2, 3]).map_or_else(|| "-".into(), number);
    let cells = vec![
        cell(&node.name),
        (state, tone),
        cell(span(node.for_ms)),
        ha,
        (format!("{}/{}", node.devices_online, node.devices), devices),
        cell(requests),
        cell(bytes_of(2)),
        cell(bytes_of(3)),
    ];
    let line = row(&NODE, cells);
    if node.state == "ONLINE" { line } else { line.plain(&node.reason) }
}

fn device_columns(width: usize) -> [Column; 7] {
    // What is left goes to the bar.
    let bar = width.saturating_sub(8 + 10 + 10 + 4 + 10 + 6 + 14).clamp(4, BAR_MAX);
    [left("DEVICE", 8), left("NODE", 10), left("STATE", 10), left("USED", bar), right("%", 4), right("SIZE", 10), right("ERRORS", 6)]
}

fn devices(view: &View, seen: &Seen, width: usize) -> Vec<Line> {
    let mut devices: Vec<&DeviceSeen> = seen.devices.iter().collect();
    let used = |device: &DeviceSeen| share(device.used_bytes.unwrap_or(0), device.bytes);
    match view.sort {
        Sort::Name => {}
        Sort::Trouble => devices.sort_by_key(|device| (device.state == "ONLINE", std::cmp::Reverse(device.errors))),
        Sort::Fullest | Sort::Busiest => devices.sort_by(|a, b| used(b).total_cmp(&used(a))),
    }
    let columns = device_columns(width);
    devices.into_iter().map(|device| device_row(&columns, device, used(device))).collect()
}

fn device_row(columns: &[Column; 7], device: &DeviceSeen, share: f64) -> Line {
    let known = device.used_bytes.is_some();
    let cells = vec![
        cell(&device.id),
        cell(&device.node),
        (device.state.clone(), tone_of_state(&device.state)),
        (if known { bar(share, columns[3].width) } else { "unknown".into() }, tone_of_share(share)),
        cell(if known { format!("{:.0}", share * 100.0) } else { "-".into() }),
        cell(bytes(device.bytes)),
        (device.errors.to_string(), if device.errors > 0 { Tone::Warn } else { Tone::Plain }),
    ];
    let note = match device {
        DeviceSeen { fails_in_ms: Some(ms), .. } => format!("FAILED in {}", span(*ms)),
        DeviceSeen { rebuild_bytes_per_second: rate @ 1.., .. } => format!("rebuilds {}/s", bytes(*rate)),
        DeviceSeen { leaving: true, .. } => "is to be replaced".into(),
        DeviceSeen { scrubs: true, .. } => "scrub".into(),
        _ if device.state != "ONLINE" => device.reason.clone(),
        _ => String::new(),
    };
    row(columns, cells).plain(note)
}

fn events(seen: &Seen) -> Vec<Line> {
    let line = |event: &ha_api::seen::EventSeen| {
        let tone = match event.what.rsplit("-> ").next() {
            Some("ONLINE") => Tone::Good,
            Some("TRANSIENT" | "FAILED") => Tone::Bad,
            Some("RECOVERING") => Tone::Warn,
            _ => Tone::Plain,
        };
        Line::new()
            .plain(format!("{}  {:<8}  ", clock(event.unix_ms), event.subject))
            .and(&event.what, tone)
            .plain(format!("  {}", event.cause))
    };
    seen.events.iter().map(line).collect()
}

/// At most nine letters.
fn short(value: u64) -> String {
    match bytes(value) {
        long if long.len() > 9 => long.split_once('.').map_or(long.clone(), |(whole, rest)| format!("{whole}{}", &rest[1..])),
        fits => fits,
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn tone_of_share(share: f64) -> Tone {
    match share {
        _ if share >= (1.0 + NEARLY_FULL) / 2.0 => Tone::Bad,
        _ if share >= NEARLY_FULL => Tone::Warn,
        _ => Tone::Good,
    }
}

/// A bar of ASCII: it is read in any locale, and copied into any mail.
fn bar(share: f64, width: usize) -> String {
    let inner = width.saturating_sub(2);
    let filled = (share.clamp(0.0, 1.0) * inner as f64).round() as usize;
    format!("[{}{}]", "#".repeat(filled), ".".repeat(inner - filled))
}

#[cfg(test)]
mod tests;
