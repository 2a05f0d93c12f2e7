//! The state that HA gave each node, over the time of a run: a lane a node.

use super::chart::{Chart, LEFT};
use super::page::{Page, Tag};
use crate::harness::run::Outcome;

/// Height of a lane.
const LANE: f64 = 22.0;

/// A state and from when to when a node had it, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stay {
    pub(super) state: String,
    pub(super) from: f64,
    pub(super) to: f64,
}

/// The states of one node, by the changes in HA's history (`ONLINE -> TRANSIENT`).
pub(super) fn stays(outcome: &Outcome, node: &str) -> Vec<Stay> {
    let mut stays: Vec<Stay> = Vec::new();
    let end = outcome.load_seconds.max(outcome.story.faults.iter().map(|fault| fault.healed_ms as f64 / 1000.0).fold(0.0, f64::max));
    for (at, event) in outcome.story.events.iter().filter(|(_, event)| event.subject == node) {
        let Some((_, state)) = event.what.rsplit_once("-> ") else { continue };
        let from = (*at as f64 / 1000.0).clamp(0.0, end);
        if let Some(last) = stays.last_mut() {
            last.to = from;
        }
        let state = state.split_whitespace().next().unwrap_or("").to_string();
        stays.push(Stay { state, from, to: end });
    }
    stays.retain(|stay| stay.to > stay.from);
    stays
}

/// Draws them.
pub fn draw(page: &mut Page, chart: &Chart<'_>, outcome: &Outcome) {
    let nodes = &outcome.story.nodes;
    chart.frame(page, "chart-states", "States of the nodes, as HA gave them", LANE * nodes.len() as f64, |page| {
        for (lane, node) in nodes.iter().enumerate() {
            let y = lane as f64 * LANE;
            let name = Tag::new("text").with("class", "name").with("x", LEFT - 8.0).with("y", y + LANE * 0.68);
            page.tag(name, |page| page.text(node));
            for stay in stays(outcome, node) {
                let (from, to) = (chart.x(stay.from), chart.x(stay.to));
                let class = format!("state state-{}", stay.state.to_lowercase());
                let rect = Tag::new("rect").with("class", class).with("x", format!("{from:.1}")).with("y", y + 4.0);
                let rect = rect.with("width", format!("{:.1}", (to - from).max(1.0))).with("height", LANE - 8.0);
                let words = format!("{node} {} from {:.3} s to {:.3} s", stay.state, stay.from, stay.to);
                page.tag(rect, |page| page.element("title", "", &words));
            }
        }
    });
    page.raw("<p class=\"legend\">");
    for state in ["online", "recovering", "transient", "failed"] {
        page.raw(&format!("<span><i class=\"key state-{state}\"></i> {}</span> ", state.to_uppercase()));
    }
    page.raw("</p>\n");
}
