//! Whatever comes to a gateway's socket: it answers with an error of S3's or closes, in time, within its memory, and serves others on.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use client::{Signer, ToSign, UNSIGNED};
use cluster_tests::process::{Cluster, peak_resident_bytes, say};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::s3::S3;

/// How long a request that is whole, or after which nothing comes, may take. A body of which nothing comes is given up after 30 s, and a head after 60.
const ANSWER: Duration = Duration::from_secs(70);
/// Clients at once.
const CLIENTS: u64 = 4;
/// Callers that begin and say nothing more, all the time.
const SILENT: usize = 40;
/// Most memory of a storage process, as `docs/status.md` says it.
const MEMORY_MAX: u64 = 512 << 20;

/// A request, before anything happens to it.
struct Template {
    method: &'static str,
    path: &'static str,
    query: &'static str,
    content: &'static str,
    headers: &'static str,
    body: Vec<u8>,
}

fn templates() -> Vec<Template> {
    let plain = |method, path, query, body: &str| Template { method, path, query, content: UNSIGNED, headers: "", body: body.into() };
    let with = |headers, template: Template| Template { headers, ..template };
    let trailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    let chunked = |headers, body: &str| Template { content: trailer, ..with(headers, plain("PUT", "/fuzz/chunks", "", body)) };
    let entities =
        "<!DOCTYPE a [<!ENTITY b \"bbbbbbbbbbbbbbbb\"><!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\"><!ENTITY d \"&c;&c;&c;&c;&c;&c;&c;&c;\">]>";
    let tags = |key: &str| format!("<Tagging><TagSet><Tag><Key>{key}</Key><Value>v</Value></Tag></TagSet></Tagging>");
    let form = "--xx\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\na\r\n--xx\r\nContent-Disposition: form-data; name=\"policy\"\r\n\r\ne30=\r\n--xx\r\n\
                Content-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nbytes\r\n--xx--\r\n";
    vec![
        with("range: bytes=0-9\r\n", plain("GET", "/fuzz/object", "", "")),
        with("range: bytes=9-1,-0,99999999999999999999-\r\n", plain("GET", "/fuzz/object", "versionId=x", "")),
        plain("HEAD", "/fuzz/object", "partNumber=7", ""),
        plain("GET", "/fuzz", "list-type=2&prefix=a&delimiter=%2F&max-keys=3", ""),
        plain("GET", "/fuzz", "versions&key-marker=%ff&version-id-marker=1", ""),
        with("content-md5: XUFAKrxLKna5cZ2REBfFkg==\r\nx-amz-meta-a: b\r\n", plain("PUT", "/fuzz/object", "", "hello")),
        chunked(
            "x-amz-decoded-content-length: 5\r\nx-amz-trailer: x-amz-checksum-crc32c\r\n",
            "5\r\nhello\r\n0\r\nx-amz-checksum-crc32c:mnG7TA==\r\n\r\n",
        ),
        chunked("x-amz-decoded-content-length: 5\r\nx-amz-trailer: x-amz-checksum-crc32c\r\n", "fffffff\r\nhello\r\n0\r\n\r\n"),
        chunked("x-amz-decoded-content-length: 99999999999999999999\r\nx-amz-trailer: a\r\n", "0\r\n\r\n"),
        plain("PUT", "/fuzz", "tagging", &tags("k")),
        plain("PUT", "/fuzz", "tagging", &(entities.to_owned() + &tags("&d;"))),
        plain("PUT", "/fuzz", "tagging", &"<Tagging>".repeat(50_000)),
        plain(
            "PUT",
            "/fuzz",
            "cors",
            "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>",
        ),
        plain("PUT", "/fuzz", "policy", &"[".repeat(30_000)),
        plain("PUT", "/fuzz", "lifecycle", &("<LifecycleConfiguration>".to_owned() + &"<Rule></Rule>".repeat(400_000))),
        plain(
            "POST",
            "/fuzz/object",
            "uploadId=00",
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>",
        ),
        with(
            "content-md5: XUFAKrxLKna5cZ2REBfFkg==\r\n",
            plain("POST", "/fuzz", "delete", "<Delete><Object><Key>a</Key></Object></Delete>"),
        ),
        with("content-type: multipart/form-data; boundary=xx\r\n", plain("POST", "/fuzz", "", form)),
        plain(
            "GET",
            "/fuzz/object",
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a%2F2033010%28&X-Amz-Date=20330101T00(000Z&X-Amz-Expires=9&X-Amz-SignedHeaders=host&X-Amz-Signature=0",
            "",
        ),
        with("origin: http://a\r\naccess-control-request-method: PUT\r\n", plain("OPTIONS", "/fuzz/object", "", "")),
        with("x-amz-copy-source: /fuzz/%2e%2e/object?versionId=9\r\n", plain("PUT", "/fuzz/copy", "", "")),
        with(
            "content-type: application/x-www-form-urlencoded\r\n",
            plain("POST", "/", "", "Action=AssumeRole&Version=2011-06-15&DurationSeconds=x"),
        ),
    ]
}

/// Draws requests, good at heart, with something wrong about most.
struct Caller {
    random: StdRng,
    signer: Signer,
    host: String,
    templates: Vec<Template>,
}

impl Caller {
    fn new(seed: u64, s3: &S3, node: usize) -> Self {
        let signer = Signer::new(&s3.access_key, &s3.secret_key, "us-east-1");
        Self { random: StdRng::seed_from_u64(seed), signer, host: s3.host(node).to_owned(), templates: templates() }
    }

    fn signed(&self, method: &str, path: &str, query: &str, content: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let signed = self.signer.sign(at, ToSign { method, path, query, host: &self.host, content });
        let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: {}\r\nx-amz-date: {}\r\nx-amz-content-sha256: {content}\r\nauthorization: {}\r\ncontent-length: {}\r\n{headers}\r\n",
            self.host,
            signed.date,
            signed.authorization,
            body.len()
        );
        [head.as_bytes(), body].concat()
    }

    fn drawn(&mut self) -> Vec<u8> {
        let which = self.random.random_range(0..self.templates.len());
        let Template { method, path, query, content, headers, body } = &self.templates[which];
        let mut request = self.signed(method, path, query, content, headers, body);
        let head = request.windows(4).position(|four| four == b"\r\n\r\n").map_or(request.len(), |at| at + 2);
        match self.random.random_range(0..12) {
            0 => {}
            1 => drop(request.splice(head..head, "x-a: b\r\n".repeat(300).into_bytes())),
            2 => drop(request.splice(head..head, format!("x-amz-meta-a: {}\r\n", "b".repeat(1 << 20)).into_bytes())),
            3 => drop(request.splice(method.len() + 2..method.len() + 2, "a%2F".repeat(30_000).into_bytes())),
            4 => drop(request.splice(head..head, b"transfer-encoding: chunked\r\n".iter().copied())),
            5 => drop(request.splice(head..head, b"expect: 100-continue\r\n".iter().copied())),
            6 => request.truncate(self.random.random_range(0..request.len())),
            _ => {
                for _ in 0..self.random.random_range(1..5) {
                    // Mostly in the head: there is more that is read.
                    let end = if self.random.random_range(0..3) == 0 { request.len() } else { head.min(request.len()) };
                    let at = self.random.random_range(0..end.max(1)).min(request.len() - 1);
                    match self.random.random_range(0..3) {
                        0 => request[at] = self.random.random(),
                        1 => drop(request.remove(at)),
                        _ => request.insert(at, *b"%&<\"\r\n\0/?=,:;0-".get(self.random.random_range(0..15)).expect("below 15")),
                    }
                }
            }
        }
        request
    }

    /// Sends a request and looks at what comes back.
    fn ask(&self, request: &[u8]) -> Result<Option<u16>> {
        let began = Instant::now();
        let mut stream = TcpStream::connect(&self.host)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        // Who is refused early may close on what is still written.
        let sent = stream.write_all(request);
        if sent.is_ok() && is_short(request) {
            // Who waits for more is told that nothing comes; who was refused may have closed by now.
            let _closed = stream.shutdown(Shutdown::Write);
        }
        let answer = read_answer(&mut stream, request.starts_with(b"HEAD "));
        let answer = answer.with_context(|| format!("after {:?}: {}", began.elapsed(), shown(request)))?;
        let Some((status, body)) = answer else { return Ok(None) };
        ensure!(status < 500 || matches!(status, 501 | 503), "{status} {body}: {}", shown(request));
        // What is no HTTP is answered before anybody reads it as S3.
        let is_bare = body.is_empty() && (matches!(status, 400 | 414 | 431) || request.starts_with(b"HEAD "));
        ensure!(status < 400 || is_bare || is_error(&body), "{status} {body:?}: {}", shown(request));
        Ok(Some(status))
    }
}

/// Whether less is there than was announced, as far as it can be said.
fn is_short(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else { return true };
    let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
    let length = head.split("content-length:").nth(1).and_then(|rest| rest.lines().next()?.trim().parse::<usize>().ok());
    head.contains("chunked") || length.is_none_or(|length| request.len() < end + 4 + length)
}

fn shown(request: &[u8]) -> String {
    String::from_utf8_lossy(&request[..request.len().min(1500)]).escape_debug().to_string()
}

/// Status and, of an error, body; `None` where the other side closed.
fn read_answer(stream: &mut TcpStream, is_head: bool) -> Result<Option<(u16, String)>> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 8192]);
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let status: u16 =
                head.split(' ').nth(1).and_then(|status| status.parse().ok()).with_context(|| format!("no status: {head}"))?;
            let length = head.split("content-length:").nth(1).and_then(|rest| rest.lines().next()?.trim().parse::<usize>().ok());
            let body = &bytes[end + 4..];
            if status < 400 || is_head || length.is_none_or(|length| body.len() >= length) {
                return Ok(Some((status, if is_head { String::new() } else { String::from_utf8_lossy(body).into_owned() })));
            }
        }
        match stream.read(&mut piece) {
            Ok(0) if bytes.is_empty() => return Ok(None),
            Ok(0) => bail!("an answer was cut off: {}", String::from_utf8_lossy(&bytes)),
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => return Ok(None),
            Err(error) => return Err(error).context("no answer"),
        }
    }
}

/// Whether that is an error in XML: elements that end in their order, and text that holds nothing of markup.
fn is_error(xml: &str) -> bool {
    // Errors of STS have no declaration.
    let mut rest = xml.split_once("?>").map_or(xml, |(_, rest)| rest);
    let mut open = Vec::new();
    while let Some((text, tag)) = rest.split_once('<') {
        let Some((tag, behind)) = tag.split_once('>') else { return false };
        let is_text =
            text.split('&').skip(1).all(|entity| entity.split_once(';').is_some_and(|(name, _)| !name.is_empty() && name.len() < 9));
        match tag.strip_prefix('/') {
            Some(name) if open.pop() != Some(name) => return false,
            Some(_) => {}
            None => open.push(tag.split(' ').next().unwrap_or_default()),
        }
        if !is_text {
            return false;
        }
        rest = behind;
    }
    let is_root = xml.contains("<Error>") && xml.contains("</Error>");
    open.is_empty() && is_root && xml.contains("<Code>") && !xml.contains("<Code></Code>")
}

/// Callers that begin and say nothing more.
fn silent(host: &str) -> Result<Vec<TcpStream>> {
    let begins: [&[u8]; 4] = [
        b"",
        b"GET /fuzz HTTP/1.1\r\nhos",
        b"PUT /fuzz/slow HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\nabc",
        b"POST /fuzz HTTP/1.1\r\nhost: a\r\ncontent-type: multipart/form-data; boundary=xx\r\ncontent-length: 9999\r\n\r\n--xx\r\n",
    ];
    let open = |number: usize| -> Result<TcpStream> {
        let mut stream = TcpStream::connect(host)?;
        stream.write_all(begins[number % begins.len()])?;
        Ok(stream)
    };
    (0..SILENT).map(open).collect()
}

/// CPU seconds of a process.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<f64> =
        stat.rsplit_once(") ").map_or(Vec::new(), |(_, rest)| rest.split(' ').filter_map(|field| field.parse().ok()).collect());
    // The first field is a letter.
    fields.get(10).zip(fields.get(11)).map_or(0.0, |(user, system)| (user + system) / 100.0)
}

/// Sends requests for so long, to all gateways, and looks at the processes then.
fn fuzz(seed: u64, lasts: Duration) -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let s3 = S3::of(&cluster)?;
    let before = cluster.pids()?;
    let first = Caller::new(seed, &s3, 0);
    let good = |caller: &Caller| -> Result<()> {
        caller.ask(&caller.signed("PUT", "/fuzz", "", UNSIGNED, "", b""))?;
        for (method, body) in [("PUT", &b"hello"[..]), ("GET", b"")] {
            let status = caller.ask(&caller.signed(method, "/fuzz/object", "", UNSIGNED, "", body))?;
            ensure!(status == Some(200), "{method} of a good object: {status:?}");
        }
        Ok(())
    };
    good(&first)?;
    let until = Instant::now() + lasts;
    let held = silent(s3.host(0))?;
    let work = |client: u64| -> Result<(u64, u64, Duration)> {
        let mut caller = Caller::new(seed.wrapping_mul(CLIENTS).wrapping_add(client), &s3, client as usize % s3.endpoints.len());
        let (mut sent, mut closed, mut longest) = (0, 0, Duration::ZERO);
        while Instant::now() < until {
            let (request, began) = (caller.drawn(), Instant::now());
            closed += u64::from(caller.ask(&request)?.is_none());
            longest = longest.max(began.elapsed());
            sent += 1;
        }
        Ok((sent, closed, longest))
    };
    let outcomes: Vec<Result<(u64, u64, Duration)>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || work(client))).collect();
        workers.into_iter().map(|worker| worker.join().expect("a client panics with its input")).collect()
    });
    let (mut sent, mut closed, mut longest) = (0, 0, Duration::ZERO);
    for outcome in outcomes {
        let (more, more_closed, took) = outcome.with_context(|| format!("seed {seed}"))?;
        (sent, closed, longest) = (sent + more, closed + more_closed, longest.max(took));
    }
    for node in 0..s3.endpoints.len() {
        good(&Caller::new(seed, &s3, node))?;
    }
    let after = cluster.pids()?;
    ensure!(before == after, "a process ended, seed {seed}: {before:?} {after:?}");
    let nodes: Vec<u32> = after.values().filter_map(|pids| pids.node).collect();
    let memory = nodes.iter().map(|pid| peak_resident_bytes(*pid)).collect::<Result<Vec<_>>>()?;
    let cpu: f64 = nodes.iter().map(|pid| cpu_seconds(*pid)).sum();
    let most = memory.iter().max().copied().unwrap_or(0);
    say(format!(
        "seed {seed}: {sent} requests, {closed} closed on, longest {longest:?}, {cpu:.0} CPU-s of storage processes, at most {} MiB each",
        most >> 20
    ));
    ensure!(sent > 50, "the clients did nothing: {sent}");
    ensure!(most < MEMORY_MAX, "seed {seed}: {memory:?} bytes");
    drop(held);
    Ok(())
}

#[test]
fn whatever_comes_to_a_gateways_socket_is_answered_or_refused_and_others_are_served_on() -> Result<()> {
    fuzz(1, Duration::from_secs(5))
}

/// For the soak: `REDOUBT_FUZZ_SECONDS`, from a seed of now or `REDOUBT_SEED`.
#[test]
#[ignore = "takes minutes: make fuzz"]
fn a_gateway_is_fuzzed_for_minutes() -> Result<()> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs());
    fuzz(number("REDOUBT_SEED").unwrap_or(now), Duration::from_secs(number("REDOUBT_FUZZ_SECONDS").unwrap_or(300)))
}
