//! Requests as they go through the front, the protocol and its signatures, to a service that takes bodies and does nothing: all that is parsed of a
//! head, of the XML of each operation, and of bodies in chunks.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use client::{Signer, ToSign, UNSIGNED};
use hyper::Request;
use hyper::http::request::Parts;
use s3s::access::S3Access;
use s3s::auth::{S3Auth, SecretKey};
use s3s::checksum::ChecksumHasher;
use s3s::dto::{PutObjectInput, PutObjectOutput, StreamingBlob, UploadPartInput, UploadPartOutput};
use s3s::service::S3Service;
use s3s::xml::Deserializer;
use s3s::{HttpResponse, S3, S3Request, S3Response, S3Result, s3_error};
use tokio::io::AsyncReadExt;

use crate::access::facts::{Facts, Peer};
use crate::body::{Announced, Mismatch, Received};
use crate::checksum::Algorithm;
use crate::cors;
use crate::object::put::{announced, trailing};
use crate::policy::Context;
use crate::serve::answer::Asked;
use crate::serve::{front, protocol, refusal};
use crate::tags::Tags;

const HOST: &str = "127.0.0.1:9000";
const KEY: &str = "fuzzed";
const SECRET: &str = "a secret of a key";
/// Most bytes of a body in chunks: each may be a chunk, and each chunk is signed here and checked there.
const CONTENT_MAX: usize = 8 * 1024;
/// Bytes that come at once.
const PIECES: [usize; 4] = [1, 7, 100, 65_536];

/// Takes bodies, as PUTs do, and keeps what came last.
#[derive(Clone, Default)]
struct Taker(Arc<Mutex<Vec<u8>>>);

impl Taker {
    async fn take(&self, body: Option<StreamingBlob>, announced: Announced) -> S3Result<()> {
        let body = body.unwrap_or_else(|| StreamingBlob::from(s3s::Body::empty()));
        let hasher = Algorithm::hasher(&announced.named(Some("crc32c")));
        let (mut received, _) = Received::new(body, announced, hasher);
        let mut bytes = Vec::new();
        match received.read_to_end(&mut bytes).await {
            Ok(_) => {
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
                Ok(())
            }
            Err(error) => Err(error
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<Mismatch>())
                .map_or_else(|| s3_error!(InternalError), Mismatch::to_error)),
        }
    }
}

#[async_trait::async_trait]
impl S3 for Taker {
    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let (trailer, trails, mut input) = (req.trailing_headers.clone(), trailing(&req.headers), req.input);
        let body = input.body.take();
        let announced = announced!(input, trailer, trails);
        self.take(body, announced).await?;
        Ok(S3Response::new(PutObjectOutput::default()))
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let (trailer, trails, mut input) = (req.trailing_headers.clone(), trailing(&req.headers), req.input);
        let body = input.body.take();
        let announced = announced!(input, trailer, trails);
        self.take(body, announced).await?;
        Ok(S3Response::new(UploadPartOutput::default()))
    }
}

#[async_trait::async_trait]
impl S3Auth for Taker {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == KEY { Ok(SecretKey::from(SECRET)) } else { Err(s3_error!(InvalidAccessKeyId)) }
    }
}

impl S3Access for Taker {}

thread_local! {
    static WORLD: RefCell<(tokio::runtime::Runtime, Taker, S3Service)> = RefCell::new({
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let taker = Taker::default();
        let service = protocol(taker.clone(), taker.clone()).build();
        (runtime, taker, service)
    });
}

fn signer() -> Signer {
    Signer::new(KEY, SECRET, "us-east-1")
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A request as text: a line with method and path, headers, an empty line, and the body. Where it names no signature it is signed.
pub fn request(input: &[u8]) -> String {
    let end = input.windows(2).position(|two| two == b"\n\n").unwrap_or(input.len());
    let (head, body) = (String::from_utf8_lossy(&input[..end]), input.get(end + 2..).unwrap_or_default());
    let mut lines = head.split('\n');
    let (method, uri) = lines.next().unwrap_or_default().split_once(' ').unwrap_or(("", ""));
    let mut request = Request::builder().method(method).uri(uri).header("host", HOST);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        request = request.header(name, value.trim());
    }
    let Ok(request) = request.body(()) else { return "no request".into() };
    let (mut head, ()) = request.into_parts();
    if !head.headers.contains_key("content-length") {
        head.headers.insert("content-length", body.len().into());
    }
    if !head.headers.contains_key("authorization") && !head.uri.query().unwrap_or_default().contains("Signature") {
        sign(&mut head);
    }
    let (status, code) = answer(head, body, PIECES[input.len() % PIECES.len()]);
    format!("{status} {code}")
}

/// Signs a head; tells the signature and its date.
fn sign(head: &mut Parts) -> (String, String) {
    let content = head.headers.get("x-amz-content-sha256").and_then(|value| value.to_str().ok()).unwrap_or(UNSIGNED).to_owned();
    let (path, query) = (head.uri.path().to_owned(), head.uri.query().unwrap_or_default().to_owned());
    let to_sign = ToSign { method: head.method.as_str(), path: &path, query: &query, host: HOST, content: &content };
    let signed = signer().sign(now_s(), to_sign);
    for (name, value) in [("authorization", &signed.authorization), ("x-amz-date", &signed.date), ("x-amz-content-sha256", &content)] {
        head.headers.insert(name, value.parse().expect("it is text of our own"));
    }
    (signed.signature, signed.date)
}

/// What is answered: nothing but what a caller did wrong, or what is not there; and an error says what it is in XML.
fn answer(mut head: Parts, body: &[u8], piece: usize) -> (u16, String) {
    let pieces: Vec<Result<Bytes, std::io::Error>> = body.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    WORLD.with_borrow(|(runtime, _, service)| {
        front::mend_date(&mut head.headers);
        front::hide_secrets(&mut head.headers);
        head.extensions.insert(Peer { address: IpAddr::V4(Ipv4Addr::LOCALHOST), is_secure: false });
        let asked = Asked::of(&head);
        let _page = cors::Asked::of(&head.method, &head.headers);
        let facts = Facts::of(&head.headers, &head.uri, &head.extensions);
        let tags = Tags::default();
        for key in ["s3:prefix", "s3:requestobjecttagkeys", "s3:requestobjecttag/a", "s3:x-amz-acl", "aws:currenttime", "s3:authtype"] {
            let _values = facts.with(None, None, &tags).values(key);
        }
        let made = match refusal(&head).map_or_else(|| front::check(&head, false), Err) {
            Err(error) => error.to_http_response().expect("an error can be written"),
            Ok(()) => {
                let request = Request::from_parts(head, s3s::Body::from(StreamingBlob::wrap(futures::stream::iter(pieces))));
                runtime.block_on(service.call(request)).expect("it is answered")
            }
        };
        let made = asked.meant(&made).map_or(made, |error| error.to_http_response().expect("an error can be written"));
        told(asked.complete(made))
    })
}

fn told(answer: HttpResponse) -> (u16, String) {
    let status = answer.status().as_u16();
    assert!(status < 500 || matches!(status, 501 | 503), "{status}: {:?}", answer.body().bytes());
    if status < 400 {
        return (status, String::new());
    }
    let Some(body) = answer.body().bytes().filter(|body| !body.is_empty()) else { return (status, "nothing".into()) };
    let (mut code, mut reader) = (String::new(), Deserializer::new(&body));
    let read = reader.named_element("Error", |reader| {
        reader.for_each_element(|reader, name| {
            reader.text(|text| {
                if name == b"Code" {
                    code = text.to_owned();
                }
                Ok(())
            })
        })
    });
    assert!(read.is_ok() && reader.expect_eof().is_ok(), "{:?}: {read:?}", String::from_utf8_lossy(&body));
    assert!(!code.is_empty(), "an error has a code: {:?}", String::from_utf8_lossy(&body));
    (status, code)
}

/// A body in chunks, signed or not, with or without a trailer, that is damaged here and there: what is taken is what was sent, wherever somebody
/// has vouched for it.
pub fn chunks(input: &[u8]) -> String {
    let Some(([flags, piece, size, damages], rest)) = input.split_first_chunk::<4>().map(|(head, rest)| (*head, rest)) else {
        return "too short".into();
    };
    let (damages, content) = rest.split_at((usize::from(damages % 8) * 3).min(rest.len()));
    let content = &content[..content.len().min(CONTENT_MAX)];
    let (is_signed, trails) = (flags & 1 == 1, flags & 2 == 2);
    let kind = match (is_signed, trails) {
        (true, false) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        (true, true) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        (false, _) => "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    };
    let mut head = Request::put("/bucket/key")
        .header("host", HOST)
        .header("x-amz-content-sha256", kind)
        .header("x-amz-decoded-content-length", content.len());
    if trails || !is_signed {
        head = head.header("x-amz-trailer", "x-amz-checksum-crc32c");
    }
    let (mut head, ()) = head.body(()).expect("a request").into_parts();
    let (mut before, date) = sign(&mut head);
    let mut body = Vec::new();
    for chunk in content.chunks(usize::from(size).max(1)).chain([&[][..]]) {
        body.extend(format!("{:x}", chunk.len()).into_bytes());
        if is_signed {
            before = signer().sign_chunk(&date, &before, chunk);
            body.extend(format!(";chunk-signature={before}").into_bytes());
        }
        body.extend(b"\r\n");
        body.extend(chunk);
        if !chunk.is_empty() || !trails {
            body.extend(b"\r\n");
        }
    }
    if trails {
        let mut sum = ChecksumHasher { crc32c: Some(Default::default()), ..Default::default() };
        sum.update(content);
        let sum = sum.finalize().checksum_crc32c.unwrap_or_default();
        body.extend(format!("x-amz-checksum-crc32c:{sum}\r\n").into_bytes());
        if is_signed {
            let signature = signer().sign_trailer(&date, &before, &format!("x-amz-checksum-crc32c:{sum}\n"));
            body.extend(format!("x-amz-trailer-signature:{signature}\r\n").into_bytes());
        }
        body.extend(b"\r\n");
    }
    let is_whole = damages.chunks_exact(3).fold(true, |is_whole, damage| {
        let at = usize::from(u16::from_le_bytes([damage[0], damage[1]])) % body.len();
        body[at] ^= damage[2];
        is_whole && damage[2] == 0
    });
    head.headers.insert("content-length", body.len().into());
    let (status, code) = answer(head, &body, usize::from(piece).max(1));
    let taken = WORLD.with_borrow(|(_, taker, _)| std::mem::take(&mut *taker.0.lock().unwrap_or_else(PoisonError::into_inner)));
    if status == 200 && (is_signed || trails) {
        assert_eq!(taken, content, "what was taken is not what was sent");
    }
    // A trailer that was announced and is not sent vouches for nothing.
    let is_whole = is_whole && (is_signed || trails);
    assert!(status == 200 || !is_whole, "what is whole is taken, not {status} {code}");
    format!("{status} {code} {flags} {}", content.len().min(3))
}
