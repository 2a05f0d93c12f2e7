//! A sequence chart: a line down for each member of the network, time going down, messages as arrows from where they were sent to where they
//! arrived. Rows are moments at which something happened, not equal times: each says its own.

use std::collections::BTreeSet;

use super::page::{Page, Tag};
use crate::sim::heap::Micros;
use crate::sim::recorded::Drawn;
use crate::sim::shown::{Arrow, time};

/// Room at the left for times.
const LEFT: f64 = 110.0;
/// Between two lines.
const APART: f64 = 190.0;
/// Height of a row.
const ROW: f64 = 20.0;
/// Room above for names.
const ABOVE: f64 = 28.0;

/// Places on paper.
struct Places {
    lanes: Vec<u32>,
    rows: Vec<Micros>,
}

impl Places {
    fn x(&self, number: u32) -> f64 {
        let lane = self.lanes.iter().position(|lane| *lane == number).unwrap_or(self.lanes.len());
        LEFT + APART * (lane as f64 + 0.5)
    }

    /// The row of a moment at which something happened, or the next one.
    fn y(&self, at: Micros) -> f64 {
        ABOVE + ROW * (self.rows.partition_point(|row| *row < at) as f64 + 0.5)
    }

    fn height(&self) -> f64 {
        ABOVE + ROW * (self.rows.len() as f64 + 0.5)
    }
}

/// Draws it.
pub fn draw(page: &mut Page, drawn: &Drawn) {
    let arrows =
        || drawn.last.iter().filter_map(|shot| shot.arrow.as_ref().map(|(arrow, _)| arrow)).chain(drawn.lost.iter().map(|(_, a)| a));
    let lanes: BTreeSet<u32> = arrows().flat_map(|arrow| [arrow.from, arrow.to]).collect();
    let rows: BTreeSet<Micros> = drawn.last.iter().map(|shot| shot.at).chain(drawn.lost.iter().map(|(at, _)| *at)).collect();
    let places = Places { lanes: lanes.into_iter().collect(), rows: rows.into_iter().collect() };
    let width = LEFT + APART * places.lanes.len().max(1) as f64;
    let view = format!("0 0 {width} {}", places.height());
    let svg = Tag::new("svg").with("id", "sequence").with("viewBox", view).with("role", "img").with("aria-label", "messages");
    page.tag(svg, |page| {
        for number in &places.lanes {
            let x = places.x(*number);
            let name = drawn.names.get(*number as usize).cloned().unwrap_or_else(|| number.to_string());
            page.tag(Tag::new("text").with("class", "tick").with("x", x).with("y", 16), |page| page.text(&name));
            page.empty(line("grid", (x, ABOVE - 6.0), (x, places.height())));
        }
        for at in &places.rows {
            page.tag(Tag::new("text").with("class", "name").with("x", LEFT - 8.0).with("y", places.y(*at) + 4.0), |page| {
                page.text(&time(*at))
            });
        }
        for shot in &drawn.last {
            match &shot.arrow {
                Some((sent, at)) => arrow(page, &places, sent, *at, Some(shot.at)),
                None => {
                    let note = Tag::new("text").with("class", "note").with("x", LEFT + 4.0).with("y", places.y(shot.at) + 4.0);
                    page.tag(note, |page| page.text(&shot.words));
                }
            }
        }
        for (at, lost) in &drawn.lost {
            arrow(page, &places, lost, *at, None);
        }
    });
    page.raw("<p class=\"legend\">An arrow begins where a message was sent and ends where it arrived; a broken one was lost, or not there yet.</p>\n");
}

fn line(class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> Tag {
    let at = |value: f64| format!("{value:.1}");
    Tag::new("line").with("class", class).with("x1", at(x1)).with("y1", at(y1)).with("x2", at(x2)).with("y2", at(y2))
}

fn arrow(page: &mut Page, places: &Places, arrow: &Arrow, sent: Micros, arrived: Option<Micros>) {
    let (from, to) = (places.x(arrow.from), places.x(arrow.to));
    let begin = (from, places.y(sent));
    let (class, end) = match arrived {
        Some(at) => ("arrow", (to, places.y(at))),
        None => ("arrow lost", (from + (to - from) * 0.4, begin.1 + ROW * 0.4)),
    };
    page.tag(line(class, begin, end), |page| page.element("title", "", &arrow.label));
    if arrived.is_some() {
        let back = if to >= from { -7.0 } else { 7.0 };
        let points = format!("{:.1},{:.1} {:.1},{:.1} {:.1},{:.1}", end.0, end.1, end.0 + back, end.1 - 4.0, end.0 + back, end.1 + 4.0);
        page.empty(Tag::new("polygon").with("class", "head").with("points", points));
    }
    let (anchor, x) = if to >= from { ("words end", end.0 - 12.0) } else { ("words", end.0 + 12.0) };
    let text = Tag::new("text").with("class", anchor).with("x", format!("{x:.1}")).with("y", format!("{:.1}", end.1 - 3.0));
    page.tag(text, |page| page.text(&arrow.label));
}
