//! The page of a simulated run: what went wrong, the messages before it as a sequence chart, all faults, the last events, how everybody was.

use std::path::Path;

use anyhow::{Context, Result};

use super::page::{Page, Tag, escaped};
use super::{STYLE, sequence};
use crate::sim::recorded::Drawn;
use crate::sim::shown::time;

/// Writes the page.
pub fn write(drawn: &Drawn, recording: &Path, path: &Path) -> Result<()> {
    std::fs::write(path, html(drawn, &recording.display().to_string())).with_context(|| path.display().to_string())
}

/// The page.
pub fn html(drawn: &Drawn, recording: &str) -> String {
    let mut page = Page::default();
    page.begin(&format!("simulation of {}", drawn.world), STYLE);
    page.tag(Tag::new("header"), |page| {
        page.tag(Tag::new("h1"), |page| {
            page.text(&format!("Simulation of {}", drawn.world));
            let (class, word) = if drawn.violation.is_none() { ("badge good", "passed") } else { ("badge bad", "failed") };
            page.raw(&format!(" <span id=\"verdict\" class=\"{class}\">{word}</span>"));
        });
        page.raw("<dl class=\"cards\">\n");
        let faults = drawn.faults.len().to_string();
        for (name, value) in [("events", drawn.events.to_string()), ("simulated", time(drawn.ended)), ("faults and their ends", faults)] {
            page.raw(&format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escaped(name), escaped(&value)));
        }
        page.raw("</dl>\n");
        if let Some(violation) = &drawn.violation {
            page.element("p", "violation", violation);
        }
        let again = format!("cluster-tests replay {recording} --from {} --step", drawn.events.saturating_sub(50));
        page.raw(&format!("<p class=\"again\">Step by step: <code>{}</code></p>\n", escaped(&again)));
    });
    page.section("messages", "Messages, faults and operations at the end", |page| sequence::draw(page, drawn));
    page.section("states", "How everybody was", |page| {
        page.table(&["who", "state"], |rows| {
            for (name, state) in drawn.names.iter().zip(&drawn.states).filter(|(_, state)| !state.is_empty()) {
                rows.row("", &[name.clone(), state.clone()]);
            }
        });
    });
    page.section("faults", "Faults", |page| {
        page.table(&["at", "what"], |rows| drawn.faults.iter().for_each(|(at, words)| rows.row("", &[time(*at), words.clone()])));
    });
    page.section("events", "The last events", |page| {
        page.details(&format!("{} events", drawn.listed.len()), |page| {
            page.table(&["number", "at", "what"], |rows| {
                drawn.listed.iter().for_each(|(number, at, words)| rows.row("", &[number.to_string(), time(*at), words.clone()]));
            });
        });
    });
    page.raw("</body>\n</html>\n");
    page.finish()
}
