//! Operations on one shared name, drawn as bars from call to answer: a lane a client.

use super::page::{Page, Tag};
use crate::checkers::history::{Action, Answer, Operation};
use crate::harness::checks::Failing;

/// Width of a drawing, in units of its own.
const WIDTH: f64 = 1000.0;
/// Room at the left for names.
const LEFT: f64 = 110.0;
/// Height of a lane.
const LANE: f64 = 20.0;
/// Most operations that are shown of one name: the last ones.
const OPERATIONS_MAX: usize = 400;

/// Draws all of them.
pub fn draw(page: &mut Page, failing: &[Failing]) {
    for history in failing {
        page.element("h3", "", &format!("{}: {}", history.name.name, history.why));
        lanes(page, &history.operations);
        page.details(&format!("{} operations", history.operations.len()), |page| table(page, &history.operations));
    }
}

fn lanes(page: &mut Page, operations: &[Operation]) {
    let shown = &operations[operations.len().saturating_sub(OPERATIONS_MAX)..];
    let mut clients: Vec<u32> = shown.iter().map(|operation| operation.client).collect();
    clients.sort_unstable();
    clients.dedup();
    let begin = shown.iter().map(|operation| operation.call).min().unwrap_or(0);
    let last_call = shown.iter().map(|operation| operation.call).max().unwrap_or(0);
    let answered = shown.iter().map(|operation| operation.ret).filter(|ret| *ret != u64::MAX).max();
    let span = answered.unwrap_or(0).max(last_call).saturating_sub(begin).max(1) as f64;
    let x = |moment: u64| LEFT + (moment.saturating_sub(begin) as f64 / span).min(1.0) * (WIDTH - LEFT - 10.0);
    let view = format!("0 0 {WIDTH} {}", LANE * clients.len() as f64);
    page.tag(Tag::new("svg").with("class", "history").with("viewBox", view).with("role", "img"), |page| {
        for (lane, client) in clients.iter().enumerate() {
            let y = lane as f64 * LANE;
            let name = Tag::new("text").with("class", "name").with("x", LEFT - 8.0).with("y", y + 14.0);
            page.tag(name, |page| page.text(&client_words(*client)));
            for operation in shown.iter().filter(|operation| operation.client == *client) {
                let (from, to) = (x(operation.call), x(operation.ret));
                let class = if matches!(operation.action, Action::Read) { "operation read" } else { "operation write" };
                let rect = Tag::new("rect").with("class", class).with("x", format!("{from:.1}")).with("y", y + 3.0);
                let rect = rect.with("width", format!("{:.1}", (to - from).max(2.0))).with("height", LANE - 6.0);
                page.tag(rect, |page| page.element("title", "", &words(operation)));
            }
        }
    });
}

fn client_words(client: u32) -> String {
    if client == u32::MAX { "the check".into() } else { format!("client {client}") }
}

fn words(operation: &Operation) -> String {
    let action = match operation.action {
        Action::Read => "read".to_string(),
        Action::Put(value, _) => format!("put {value:x}"),
        Action::Delete(_) => "delete".to_string(),
    };
    let answer = match operation.answer {
        Answer::Unknown => "not known".to_string(),
        Answer::Never => "refused, never happened".into(),
        Answer::Read(None) => "nothing there".into(),
        Answer::Read(Some(value)) => format!("found {value:x}"),
        Answer::Done(_) => "done".into(),
        Answer::Refused(_) => "was not there".into(),
    };
    format!("{action}: {answer}")
}

fn table(page: &mut Page, operations: &[Operation]) {
    page.table(&["called", "answered", "client", "what"], |rows| {
        for operation in operations {
            let ms = |moment: u64| if moment == u64::MAX { "never".into() } else { format!("{:.3} ms", moment as f64 / 1e6) };
            rows.row("", &[ms(operation.call), ms(operation.ret), client_words(operation.client), words(operation)]);
        }
    });
}
