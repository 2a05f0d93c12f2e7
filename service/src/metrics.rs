//! A page of metrics, in the text form that Prometheus reads, and the port that it is read at.
//!
//! Whoever has figures writes them when the page is asked for; nothing is kept here. The port answers GET of the paths that its owner knows, one
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

/// Fields of /proc/PID/stat, counted after the name.
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;
/// Linux has it so on every architecture that we run on.
const TICKS_IN_A_SECOND: f64 = 100.0;

/// What kind of figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only goes up, until the process ends.
    Counter,
    /// How many were how large: see [`Metric::histogram`].
    Histogram,
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
            Kind::Histogram => "histogram",
        };
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "# HELP {name} {}\n# TYPE {name} {kind}", help.replace('\n', " "));
        Metric { page: self, name: name.into() }
    }

    /// Adds what the system says of this process, under the names that are usual for it; nothing where it does not.
    pub fn process(&mut self) {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The second field is a name, and may hold anything but ends with the last bracket.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |field: usize| fields.get(field).and_then(|text| text.parse::<u64>().ok());
        if let (Some(user), Some(system)) = (ticks(USER_TICKS), ticks(SYSTEM_TICKS)) {
            let seconds = (user + system) as f64 / TICKS_IN_A_SECOND;
            self.metric("process_cpu_seconds_total", Kind::Counter, "Time on processors.").sample(&[], seconds);
        }
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok());
        if let Some(kibibytes) = kibibytes {
            self.metric("process_resident_memory_bytes", Kind::Gauge, "Memory in use.").sample(&[], kibibytes * 1024);
        }
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            self.metric("process_open_fds", Kind::Gauge, "Open descriptors.").sample(&[], open.count());
        }
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
        self.line("", labels, value)
    }

    /// Adds a histogram: how many were at most as large as the end of each step and larger than that of the one before (`None`: without end),
    /// and how large they were together.
    pub fn histogram(
        &mut self,
        labels: &[(&str, &dyn Display)],
        steps: impl IntoIterator<Item = (Option<f64>, u64)>,
        sum: f64,
    ) -> &mut Self {
        let mut count = 0;
        for (end, of_step) in steps {
            count += of_step;
            if let Some(end) = end {
                let labels: Vec<(&str, &dyn Display)> = labels.iter().copied().chain([("le", &end as &dyn Display)]).collect();
                self.line("_bucket", &labels, count);
            }
        }
        let labels_of_all: Vec<(&str, &dyn Display)> = labels.iter().copied().chain([("le", &"+Inf" as &dyn Display)]).collect();
        self.line("_bucket", &labels_of_all, count);
        self.line("_sum", labels, sum);
        self.line("_count", labels, count)
    }

    fn line(&mut self, end_of_name: &str, labels: &[(&str, &dyn Display)], value: impl Display) -> &mut Self {
        let text = &mut self.page.text;
        text.push_str(&self.name);
        text.push_str(end_of_name);
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

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its type.
    pub kind: &'static str,
    /// Lines of the head beside it.
    pub headers: Vec<String>,
    /// What it is.
    pub body: String,
}

impl Answer {
    /// A page of metrics, which is at `/metrics`.
    pub fn metrics(page: Page) -> Self {
        Self { kind: "text/plain; version=0.0.4; charset=utf-8", headers: Vec::new(), body: page.into_text() }
    }
}

/// Serves what `answers` has at a path, for ever.
pub async fn serve<F: Future<Output = Option<Answer>> + Send>(
    listener: TcpListener,
    answers: impl Fn(String) -> F + Send + Sync + 'static,
) {
    let answers = Arc::new(answers);
    let mut requests = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = requests.join_next() => {}
            accepted = listener.accept(), if requests.len() < REQUESTS_MAX => match accepted {
                Ok((stream, _)) => {
                    let answers = answers.clone();
                    requests.spawn(async move {
                        // Who goes away has no use for an error.
                        let _ = tokio::time::timeout(DEADLINE, answer(stream, &*answers)).await;
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

async fn answer<F: Future<Output = Option<Answer>> + Send>(
    mut stream: TcpStream,
    answers: &(impl Fn(String) -> F + Sync),
) -> io::Result<()> {
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
    let plain = |body: &str| Answer { kind: "text/plain", headers: Vec::new(), body: body.into() };
    let (status, answer) = match (words.next(), words.next().map(|path| path.split('?').next().unwrap_or_default())) {
        (Some("GET"), Some(path)) => match answers(path.to_owned()).await {
            Some(answer) => ("200 OK", answer),
            None => ("404 Not Found", plain("there is /metrics\n")),
        },
        _ => ("405 Method Not Allowed", plain("say GET /metrics\n")),
    };
    let Answer { kind, mut headers, body } = answer;
    headers.extend([format!("Content-Type: {kind}"), format!("Content-Length: {}", body.len()), "Connection: close".into()]);
    headers.push("X-Content-Type-Options: nosniff".into());
    let head = format!("HTTP/1.1 {status}\r\n{}\r\n\r\n", headers.join("\r\n"));
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
        let mut metric = page.metric("redoubt_time_seconds", Kind::Histogram, "Time.");
        metric.histogram(&[("a", &"b")], [(Some(0.5), 2), (Some(1.0), 0), (None, 3)], 7.5);
        page
    }

    #[test]
    fn a_page_reads_as_prometheus_wants_it() {
        let text = page().into_text();
        assert!(text.contains("# TYPE redoubt_things_total counter\n"), "{text}");
        assert!(text.contains("redoubt_things_total{name=\"a \\\"b\\\"\\n\\\\\",id=\"7\"} 2\n"), "{text}");
        assert!(text.contains("redoubt_up 1\n"), "{text}");
        assert!(text.contains("# TYPE redoubt_time_seconds histogram\nredoubt_time_seconds_bucket{a=\"b\",le=\"0.5\"} 2\n"), "{text}");
        assert!(
            text.ends_with("{a=\"b\",le=\"+Inf\"} 5\nredoubt_time_seconds_sum{a=\"b\"} 7.5\nredoubt_time_seconds_count{a=\"b\"} 5\n"),
            "{text}"
        );
    }

    #[test]
    fn a_process_says_what_it_takes_of_the_machine() {
        let mut page = Page::default();
        page.process();
        let text = page.into_text();
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).expect("it is there");
            line.rsplit(' ').next().and_then(|number| number.parse::<f64>().ok()).expect("a number")
        };
        assert!(value("process_resident_memory_bytes") > 100_000.0 && value("process_open_fds") >= 3.0);
        assert!((0.0..1000.0).contains(&value("process_cpu_seconds_total")), "{text}");
    }

    #[tokio::test]
    async fn the_port_gives_the_page_and_nothing_else() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        tokio::spawn(serve(listener, |path| async move { (path == "/metrics").then(|| Answer::metrics(page())) }));
        let ask = async |request: &str| {
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            stream.write_all(request.as_bytes()).await.expect("it takes a request");
            let mut text = String::new();
            // A port that closes early may reset.
            let _ = stream.read_to_string(&mut text).await;
            text
        };
        let good = ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(good.starts_with("HTTP/1.1 200 OK\r\n") && good.ends_with("_count{a=\"b\"} 5\n"), "{good}");
        assert!(ask("GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404"));
        assert!(ask("POST /metrics HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 405"));
        assert_eq!(ask(&"x".repeat(20_000)).await, "");
    }
}
