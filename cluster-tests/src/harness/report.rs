//! A page about a run: one HTML file with everything in it, that needs no other file and no script.
//!
//! The page is well-formed, so that a tool may read it; `report/tests.rs` does.

mod chart;
mod history;
mod page;
mod sequence;
pub mod simulated;
mod states;

use std::path::Path;

use anyhow::{Context, Result};

use super::run::Outcome;
use page::{Page, Tag, escaped};

/// How the page looks: light or dark as the reader's machine is.
const STYLE: &str = include_str!("report/style.css");
/// Most rows of HA's history and of errors that are shown.
const ROWS_MAX: usize = 400;

/// Writes the page of a run.
pub fn write(outcome: &Outcome, path: &Path) -> Result<()> {
    std::fs::write(path, html(outcome)).with_context(|| path.display().to_string())
}

/// The page.
pub fn html(outcome: &Outcome) -> String {
    let mut page = Page::default();
    let title = format!("{}, seed {}", outcome.scenario, outcome.seed);
    page.begin(&title, STYLE);
    head(&mut page, outcome);
    page.section("timeline", "What happened", |page| {
        let chart = chart::Chart::new(outcome);
        chart.faults(page);
        states::draw(page, &chart, outcome);
        chart.throughput(page);
        chart.latency(page);
    });
    page.section("checks", "What was checked", |page| checks(page, outcome));
    page.section("faults", "Faults", |page| faults(page, outcome));
    page.section("load", "Operations", |page| operations(page, outcome));
    if !outcome.story.failing.is_empty() {
        page.section("histories", "Histories that no order explains", |page| history::draw(page, &outcome.story.failing));
    }
    page.section("events", "History of HA", |page| events(page, outcome));
    page.section("errors", "Errors that clients were told", |page| errors(page, outcome));
    page.raw("</body>\n</html>\n");
    page.finish()
}

fn head(page: &mut Page, outcome: &Outcome) {
    page.tag(Tag::new("header"), |page| {
        page.tag(Tag::new("h1"), |page| {
            page.text(&outcome.scenario);
            let (class, word) = if outcome.passed { ("badge good", "passed") } else { ("badge bad", "failed") };
            page.raw(&format!(" <span id=\"verdict\" class=\"{class}\">{word}</span>"));
        });
        page.element("p", "about", outcome.about.trim());
        page.raw("<dl class=\"cards\">\n");
        for (name, value) in cards(outcome) {
            page.raw(&format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escaped(&name), escaped(&value)));
        }
        page.raw("</dl>\n");
        for violation in &outcome.violations {
            page.element("p", "violation", violation);
        }
        let again = format!("cluster-tests run {}.yaml --seed {}", outcome.scenario, outcome.seed);
        page.raw(&format!("<p class=\"again\">Again with the same choices: <code>{}</code></p>\n", escaped(&again)));
    });
}

fn cards(outcome: &Outcome) -> Vec<(String, String)> {
    let done: u64 = outcome.operations.values().map(|count| count.done).sum();
    let failed: u64 = outcome.operations.values().map(|count| count.failed).sum();
    let gap = outcome.gaps_ms.iter().max().copied().unwrap_or(0);
    let mut cards = vec![
        ("seed".to_string(), outcome.seed.to_string()),
        ("load".into(), format!("{:.1} s", outcome.load_seconds)),
        ("operations".into(), format!("{done}")),
        ("a second".into(), format!("{:.0}", done as f64 / outcome.load_seconds.max(0.001))),
        ("clear errors".into(), format!("{failed}")),
        ("longest gap of a client".into(), format!("{gap} ms")),
        ("faults".into(), outcome.story.faults.len().to_string()),
        ("CPU pressure".into(), format!("{:.0} %", outcome.cpu_pressure)),
    ];
    if let Some(packets) = &outcome.packets {
        cards.push(("packets".into(), format!("{} delivered, {} lost", packets.delivered, packets.lost)));
    }
    cards
}

fn checks(page: &mut Page, outcome: &Outcome) {
    page.table(&["", "check", "what was seen"], |rows| {
        for check in &outcome.checks {
            let (class, word) = if check.is_ok { ("good", "ok") } else { ("bad", "FAIL") };
            rows.row(class, &[word.into(), check.name.clone(), check.what.clone()]);
        }
    });
}

fn faults(page: &mut Page, outcome: &Outcome) {
    page.table(&["from", "to", "kind", "what", "count"], |rows| {
        for fault in &outcome.story.faults {
            let seconds = |ms: u64| format!("{:.2} s", ms as f64 / 1000.0);
            let what = fault.failed.as_ref().map_or_else(|| fault.what.clone(), |why| format!("{}: NOT DONE: {why}", fault.what));
            let cells = [seconds(fault.began_ms), seconds(fault.healed_ms), fault.kind.word().into(), what, fault.count.to_string()];
            rows.row(if fault.failed.is_some() { "bad" } else { "" }, &cells);
        }
    });
}

fn operations(page: &mut Page, outcome: &Outcome) {
    let ms = |us: u64| format!("{:.1} ms", us as f64 / 1000.0);
    page.table(&["verb", "done", "failed", "p50", "p99", "longest"], |rows| {
        for (verb, count) in &outcome.operations {
            let times = [ms(count.p50_us), ms(count.p99_us), ms(count.longest_us)];
            let cells: Vec<String> =
                [(*verb).to_string(), count.done.to_string(), count.failed.to_string()].into_iter().chain(times).collect();
            rows.row("", &cells);
        }
    });
}

fn events(page: &mut Page, outcome: &Outcome) {
    let events = &outcome.story.events;
    page.details(&format!("{} events", events.len()), |page| {
        page.table(&["at", "entry", "who", "what", "why"], |rows| {
            for (at, event) in events.iter().take(ROWS_MAX) {
                let at = format!("{:.3} s", *at as f64 / 1000.0);
                rows.row("", &[at, event.index.to_string(), event.subject.clone(), event.what.clone(), event.cause.clone()]);
            }
        });
    });
}

fn errors(page: &mut Page, outcome: &Outcome) {
    let errors = &outcome.story.errors;
    page.details(&format!("{} errors", errors.len()), |page| {
        page.raw("<ul>\n");
        errors.iter().take(ROWS_MAX).for_each(|error| page.element("li", "", error));
        page.raw("</ul>\n");
    });
}

#[cfg(test)]
mod tests;
