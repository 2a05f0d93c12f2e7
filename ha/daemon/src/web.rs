//! The page of every node: the cluster at a glance in a browser, beside the daemon's metrics and for whom those are. One file, nothing fetched
//! from elsewhere, and no more than the metrics tell: no names of catalogues, accounts or keys.

use std::sync::Arc;

use ha_api::EventLine;
use ha_api::seen::Seen;
use ha_api::tls::Tls;
use ha_state::{Event, Subject};
use service::metrics::Answer;

use crate::core::Core;
use crate::metrics;
use crate::serve::convert::event_line;
use crate::serve::show;

/// The page; `@NONCE@` stands where its own style and script are let in.
const PAGE: &str = include_str!("web/page.html");
/// How long a leader is waited for: the port gives an answer ten seconds, and the page waits eight.
const WAIT_MS: u64 = 5000;
/// Events that the page shows at most.
const EVENTS_MAX: usize = 100;

/// What the port answers to a path.
pub async fn answer(core: Arc<Core>, tls: Option<Tls>, path: String) -> Option<Answer> {
    match path.as_str() {
        "/metrics" => Some(Answer::metrics(metrics::page(core, tls).await)),
        "/" => Some(page()),
        "/seen.json" => Some(seen(&core).await),
        _ => None,
    }
}

/// What is not in the file itself is not run, and nothing is loaded from anywhere but this port.
fn page() -> Answer {
    let nonce = format!("{:032x}", rand::random::<u128>());
    let policy = format!(
        "Content-Security-Policy: default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = vec![policy, "Referrer-Policy: no-referrer".into(), "Cache-Control: no-store".into()];
    Answer { kind: "text/html; charset=utf-8", headers, body: PAGE.replace("@NONCE@", &nonce) }
}

async fn seen(core: &Core) -> Answer {
    let status = show::status(core, WAIT_MS).await;
    let events: Vec<EventLine> = core.machine.read(|state| {
        let mut newest: Vec<_> = state.events().rev().take(EVENTS_MAX).map(|event| event_line(&without_names(event))).collect();
        newest.reverse();
        newest
    });
    // What is made of numbers and words always has its JSON.
    let body = serde_json::to_string(&Seen::of(&status, &events)).unwrap_or_default();
    Answer { kind: "application/json", headers: vec!["Cache-Control: no-store".into()], body }
}

/// Names of catalogues, and of accounts and their keys, are for who may ask HA.
fn without_names(event: &Event) -> Event {
    let is_of_account = event.what.starts_with("account ") || event.what.starts_with("key ");
    let names = match event.subject {
        Subject::Catalogue(_) | Subject::Session(_) => true,
        Subject::Cluster => is_of_account,
        Subject::Process(_) | Subject::Device(_) | Subject::Pool(_) | Subject::Group(_) => false,
    };
    Event { cause: if names { String::new() } else { event.cause.clone() }, ..event.clone() }
}

#[cfg(test)]
mod tests {
    use types::{CatalogueId, Epoch, HaTime, NodeId};

    use super::*;

    #[test]
    fn the_page_lets_in_its_own_style_and_script_and_nothing_else() {
        let (first, second) = (page(), page());
        assert_ne!(first.body, second.body, "who knows one nonce knows no other");
        let nonce = first.headers[0].split("'nonce-").nth(1).and_then(|rest| rest.split('\'').next()).expect("a nonce");
        assert_eq!(first.body.matches(nonce).count(), 2);
        assert!(!first.body.contains("@NONCE@") && !first.body.contains(" style="));
        assert!(!PAGE.contains("innerHTML"), "what comes from outside is text");
        // The name of SVG is no address.
        assert_eq!(PAGE.matches("://").count(), PAGE.matches("http://www.w3.org/2000/svg").count());
    }

    #[test]
    fn names_of_catalogues_and_accounts_are_left_out() {
        let event = |subject, what: &str| Event {
            index: 1,
            epoch: Epoch(1),
            at: HaTime(1),
            wall_ms: 1,
            subject,
            what: what.into(),
            cause: "a name".into(),
        };
        let shown = |subject, what| !without_names(&event(subject, what)).cause.is_empty();
        assert!(!shown(Subject::Catalogue(CatalogueId(5)), "created") && !shown(Subject::Cluster, "key created"));
        assert!(shown(Subject::Process(NodeId(1)), "ONLINE -> TRANSIENT") && shown(Subject::Cluster, "voters changed"));
    }
}
