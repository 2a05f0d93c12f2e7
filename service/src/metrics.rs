//! A page of metrics, in the text form that Prometheus reads, and the port that it is read at.
//!
//! Whoever has figures writes them when the page is asked for; nothing is kept here. The port answers `GET /metrics` and nothing else, one
//! request a connection, with bounds on all that a stranger can hold: it has no authentication and shows no data and no secrets.

use std::fmt::{Display, Write};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Longest head of a request.
const HEAD_BYTES_MAX: usize = 8192;
/// How long a request and its answer may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Requests at once; others wait to be taken.
const REQUESTS_MAX: usize = 16;
/// Pause after an error of the port.
const PORT_PAUSE: Duration = Duration::from_millis(100);

/// What kind of figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only goes up, until the process ends.
    Counter,
}

/// A page that is being written.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    /// Begins a metric: what follows by [`Page::sample`] is of it. The name has its unit, and `_total` where it counts.
    pub fn metric(&mut self, name: &str, kind: Kind, help: &str) -> Metric<'_> {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "# HELP {name} {}\n# TYPE {name} {kind}", help.replace('\n', " "));
        Metric { page: self, name: name.into() }
    }

    /// The page.
    pub fn into_text(self) -> String {
        self.text
    }
}

/// A metric of a page.
#[derive(Debug)]
pub struct Metric<'a> {
    page: &'a mut Page,
    name: String,
}

impl Metric<'_> {
    /// Adds a figure with its labels.
    pub fn sample(&mut self, labels: &[(&str, &dyn Display)], value: impl Display) -> &mut Self {
        let text = &mut self.page.text;
        text.push_str(&self.name);
        for (at, (label, value)) in labels.iter().enumerate() {
            let value = value.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(text, "{}{label}=\"{value}\"", if at == 0 { '{' } else { ',' });
        }
        if !labels.is_empty() {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
        self
    }
}

/// Serves the page that `render` writes, for ever.
pub async fn serve<F: Future<Output = Page> + Send>(listener: TcpListener, render: impl Fn() -> F + Send + Sync + 'static) {
    let render = Arc::new(render);
    let mut requests = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = requests.join_next() => {}
            accepted = listener.accept(), if requests.len() < REQUESTS_MAX => match accepted {
                Ok((stream, _)) => {
                    let render = render.clone();
                    requests.spawn(async move {
                        // Who goes away has no use for an error.
                        let _ = tokio::time::timeout(DEADLINE, answer(stream, &*render)).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the port of the metrics");
                    tokio::time::sleep(PORT_PAUSE).await;
                }
            },
        }
    }
}

async fn answer<F: Future<Output = Page> + Send>(mut stream: TcpStream, render: &(impl Fn() -> F + Sync)) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let mut piece = [0; 1024];
        let length = stream.read(&mut piece).await?;
        if length == 0 || head.len() + length > HEAD_BYTES_MAX {
            return Ok(());
        }
        head.extend_from_slice(&piece[..length]);
    }
    let line = String::from_utf8_lossy(head.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned();
    let mut words = line.split(' ');
    let (status, kind, body) = match (words.next(), words.next().map(|path| path.split('?').next().unwrap_or_default())) {
        (Some("GET"), Some("/metrics")) => ("200 OK", "text/plain; version=0.0.4; charset=utf-8", render().await.into_text()),
        (Some("GET"), _) => ("404 Not Found", "text/plain", "there is /metrics\n".into()),
        _ => ("405 Method Not Allowed", "text/plain", "say GET /metrics\n".into()),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let mut page = Page::default();
        page.metric("redoubt_up", Kind::Gauge, "Whether it is up.").sample(&[], 1);
        let mut metric = page.metric("redoubt_things_total", Kind::Counter, "Things.");
        metric.sample(&[("name", &"a \"b\"\n\\"), ("id", &7)], 2).sample(&[("name", &"c"), ("id", &8)], 0.5);
        page
    }

    #[test]
    fn a_page_reads_as_prometheus_wants_it() {
        let text = page().into_text();
        assert!(text.contains("# TYPE redoubt_things_total counter\n"), "{text}");
        assert!(text.contains("redoubt_things_total{name=\"a \\\"b\\\"\\n\\\\\",id=\"7\"} 2\n"), "{text}");
        assert!(text.contains("redoubt_up 1\n"), "{text}");
    }

    #[tokio::test]
    async fn the_port_gives_the_page_and_nothing_else() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        tokio::spawn(serve(listener, || async { page() }));
        let ask = async |request: &str| {
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            stream.write_all(request.as_bytes()).await.expect("it takes a request");
            let mut text = String::new();
            // A port that closes early may reset.
            let _ = stream.read_to_string(&mut text).await;
            text
        };
        let good = ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(good.starts_with("HTTP/1.1 200 OK\r\n") && good.ends_with("0.5\n"), "{good}");
        assert!(ask("GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404"));
        assert!(ask("POST /metrics HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 405"));
        assert_eq!(ask(&"x".repeat(20_000)).await, "");
    }
}
