//! A form as it comes in: its fields up to the file in memory, within bounds; the file as a stream that ends at the boundary.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use s3s::{S3Error, S3Result, s3_error};

use super::Fields;

/// Most bytes of all fields before the file.
const FIELDS_BYTES_MAX: usize = 128 * 1024;
/// Most bytes of what stands at the head of a part.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Bytes from the caller.
pub type Source = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send + Sync>>;

/// What came before the end of the file.
pub struct Form {
    /// The fields.
    pub fields: Fields,
    /// The name of the file.
    pub file_name: String,
    /// Its bytes.
    pub file: File,
}

/// The bytes of the file.
pub struct File {
    source: Source,
    buffer: BytesMut,
    /// What ends it.
    end: Vec<u8>,
    is_over: bool,
}

fn malformed() -> S3Error {
    s3_error!(MalformedPOSTRequest, "The body of your POST request is not well-formed multipart/form-data.")
}

/// The boundary that a content type names.
pub fn boundary(content_type: &str) -> Option<String> {
    let mut parameters = content_type.split(';');
    if !parameters.next()?.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let (_, value) = parameters.filter_map(|one| one.trim().split_once('=')).find(|(name, _)| name.eq_ignore_ascii_case("boundary"))?;
    let value = value.trim_matches('"');
    (1..=70).contains(&value.len()).then(|| value.to_owned())
}

/// Reads a form up to its file.
///
/// # Errors
/// `MalformedPOSTRequest`, `MaxPostPreDataLengthExceeded`, and `InvalidArgument` where there is no file.
pub async fn read(source: Source, boundary: &str) -> S3Result<Form> {
    let end = format!("\r\n--{boundary}").into_bytes();
    // The first boundary has no line before it; then all are alike.
    let mut reader = File { source, buffer: BytesMut::from(&b"\r\n"[..]), end, is_over: false };
    reader.part(HEAD_BYTES_MAX).await?;
    let (mut fields, mut bytes) = (Fields::default(), 0);
    loop {
        match reader.line_after_boundary().await? {
            After::End => return Err(s3_error!(InvalidArgument, "POST requires exactly one file upload per request.")),
            After::Part => {}
        }
        let head = reader.head().await?;
        if head.name.eq_ignore_ascii_case("file") {
            return Ok(Form { fields, file_name: head.file_name.unwrap_or_default(), file: reader });
        }
        let value = reader.part(FIELDS_BYTES_MAX - bytes).await?;
        bytes += value.len() + head.name.len();
        if bytes >= FIELDS_BYTES_MAX {
            return Err(too_much());
        }
        fields.add(&head.name, String::from_utf8(value).map_err(|_| malformed())?);
    }
}

fn too_much() -> S3Error {
    s3_error!(MaxPostPreDataLengthExceededError, "Your POST request fields preceding the upload file were too large.")
}

enum After {
    Part,
    End,
}

/// What the head of a part says.
struct Head {
    name: String,
    file_name: Option<String>,
}

impl File {
    /// Takes more from the caller; an error at the end.
    async fn more(&mut self) -> S3Result<()> {
        match self.source.next().await {
            Some(Ok(bytes)) => {
                self.buffer.extend_from_slice(&bytes);
                Ok(())
            }
            Some(Err(_)) | None => Err(malformed()),
        }
    }

    /// The bytes up to the boundary, which is taken too.
    async fn part(&mut self, most: usize) -> S3Result<Vec<u8>> {
        let mut looked = 0;
        loop {
            if let Some(at) = find_from(&self.buffer, &self.end, &mut looked) {
                // The bounds hold however much comes at once.
                if at > most {
                    return Err(too_much());
                }
                let value = self.buffer.split_to(at).to_vec();
                let _boundary = self.buffer.split_to(self.end.len());
                return Ok(value);
            }
            if self.buffer.len() > most + self.end.len() {
                return Err(too_much());
            }
            self.more().await?;
        }
    }

    async fn line_after_boundary(&mut self) -> S3Result<After> {
        while self.buffer.len() < 2 {
            self.more().await?;
        }
        match &self.buffer.split_to(2)[..] {
            b"\r\n" => Ok(After::Part),
            b"--" => Ok(After::End),
            _ => Err(malformed()),
        }
    }

    async fn head(&mut self) -> S3Result<Head> {
        let mut looked = 0;
        let end = loop {
            if let Some(at) = find_from(&self.buffer, b"\r\n\r\n", &mut looked) {
                if at > HEAD_BYTES_MAX {
                    return Err(too_much());
                }
                break at;
            }
            if self.buffer.len() > HEAD_BYTES_MAX + 3 {
                return Err(too_much());
            }
            self.more().await?;
        };
        let head = self.buffer.split_to(end + 4);
        let text = std::str::from_utf8(&head[..end]).map_err(|_| malformed())?;
        let header = |wanted: &str| {
            let named = text.split("\r\n").filter_map(|line| line.split_once(':'));
            named.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
        };
        let disposition = header("content-disposition").ok_or_else(malformed)?;
        let name = parameter(disposition, "name").ok_or_else(malformed)?;
        Ok(Head { name, file_name: parameter(disposition, "filename") })
    }
}

impl Stream for File {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.is_over {
                return Poll::Ready(None);
            }
            if let Some(at) = find(&self.buffer, &self.end) {
                self.is_over = true;
                return if at == 0 { Poll::Ready(None) } else { Poll::Ready(Some(Ok(self.buffer.split_to(at).freeze()))) };
            }
            // The boundary may have begun at the end of what is here.
            let sure = (self.buffer.len() + 1).saturating_sub(self.end.len());
            if sure > 0 {
                return Poll::Ready(Some(Ok(self.buffer.split_to(sure).freeze())));
            }
            match self.source.as_mut().poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(bytes))) => self.buffer.extend_from_slice(&bytes),
                Poll::Ready(broken) => {
                    self.is_over = true;
                    let error = broken.and_then(Result::err).unwrap_or_else(|| std::io::ErrorKind::UnexpectedEof.into());
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

/// Where `wanted` begins, of which nothing begins before `looked`; sets that to where it may begin in what comes later. So bytes are
/// looked through once, in however small pieces they come.
fn find_from(bytes: &[u8], wanted: &[u8], looked: &mut usize) -> Option<usize> {
    let found = find(bytes.get(*looked..)?, wanted).map(|at| *looked + at);
    *looked = (*looked).max((bytes.len() + 1).saturating_sub(wanted.len()));
    found
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    while let Some(at) = bytes.get(from..)?.iter().position(|byte| *byte == first) {
        if bytes[from + at..].starts_with(wanted) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// A parameter of a header: `name="value"`, with `\` before what it would end at.
fn parameter(header: &str, wanted: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let is_it = name.trim().eq_ignore_ascii_case(wanted);
        let (value, behind) = match after.strip_prefix('"') {
            None => after.split_once(';').map_or((after.trim().to_owned(), ""), |(value, behind)| (value.trim().to_owned(), behind)),
            Some(quoted) => {
                let (mut value, mut is_escaped, mut end) = (String::new(), false, None);
                for (at, character) in quoted.char_indices() {
                    match character {
                        '\\' if !is_escaped => is_escaped = true,
                        '"' if !is_escaped => {
                            end = Some(at);
                            break;
                        }
                        other => {
                            is_escaped = false;
                            value.push(other);
                        }
                    }
                }
                let behind = &quoted[end? + 1..];
                (value, behind.split_once(';').map_or("", |(_, behind)| behind))
            }
        };
        if is_it {
            return Some(value);
        }
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "--xx\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\na\"b\r\n--xx\r\ncontent-disposition: form-data; name=Acl\r\n\r\n\r\n--xx\r\n\
                        Content-Disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\".txt\"\r\nContent-Type: text/plain\r\n\r\nbytes\r\n--x\r\n\r\n--xx--\r\n";

    /// A caller who sends so many bytes at a time.
    fn source(text: &str, step: usize) -> Source {
        let pieces: Vec<_> = text.as_bytes().chunks(step).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Box::pin(futures::stream::iter(pieces))
    }

    #[tokio::test]
    async fn a_form_is_read_however_its_bytes_come() {
        for step in [1, 2, 3, 7, 1000] {
            let form = read(source(FORM, step), "xx").await.expect("a form");
            assert_eq!((form.fields.get("key"), form.fields.get("acl")), (Some("a\"b"), Some("")));
            assert_eq!(form.file_name, "a \"b\".txt");
            let file: Vec<Bytes> = form.file.map(|piece| piece.expect("whole")).collect().await;
            assert_eq!(file.concat(), b"bytes\r\n--x\r\n", "{step}");
        }
    }

    #[tokio::test]
    async fn what_is_no_form_is_refused() {
        let code = |text: String| async move { read(source(&text, 100), "xx").await.err().map(|error| error.code().as_str().to_owned()) };
        assert_eq!(code("--xx--\r\n".into()).await.as_deref(), Some("InvalidArgument"));
        assert_eq!(code("nothing".into()).await.as_deref(), Some("MalformedPOSTRequest"));
        assert_eq!(code("--xx\r\nContent-Type: a/b\r\n\r\nx\r\n--xx--".into()).await.as_deref(), Some("MalformedPOSTRequest"));
        let long = format!("--xx\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n{}\r\n--xx--\r\n", "x".repeat(FIELDS_BYTES_MAX));
        assert_eq!(code(long).await.as_deref(), Some("MaxPostPreDataLengthExceededError"));
        let cut = read(source(&FORM[..FORM.len() - 12], 100), "xx").await.expect("its head is whole");
        assert!(cut.file.collect::<Vec<_>>().await.iter().any(Result::is_err), "the end of the file did not come");
    }

    #[tokio::test]
    async fn what_is_too_long_is_refused_however_its_bytes_come() {
        let part = |name: usize, value: usize| {
            let (name, value) = ("n".repeat(name), "x".repeat(value));
            format!("--xx\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let first = "--xx\r\nContent-Disposition: form-data; name=\"\"".len() - "--xx\r\n".len();
        let file = "--xx\r\nContent-Disposition: form-data; name=file\r\n\r\n\r\n--xx--";
        for (text, is_good) in [
            (part(HEAD_BYTES_MAX - first, 1), true),
            (part(HEAD_BYTES_MAX - first + 1, 1), false),
            (part(1, FIELDS_BYTES_MAX - 2), true),
            (part(1, FIELDS_BYTES_MAX - 1), false),
            ("x".repeat(HEAD_BYTES_MAX + 1) + "\r\n" + &part(1, 1), false),
        ] {
            for step in [1000, usize::MAX] {
                assert_eq!(read(source(&(text.clone() + file), step), "xx").await.is_ok(), is_good, "{} by {step}", text.len());
            }
        }
    }

    #[test]
    fn a_search_goes_on_where_it_ended() {
        let text = b"aab\r\n\r--x\r\n--xx";
        for cut in 0..text.len() {
            let mut looked = 0;
            assert_eq!(find_from(&text[..cut], b"\r\n--xx", &mut looked), None, "{cut}");
            assert_eq!(looked, (cut + 1).saturating_sub(6), "{cut}");
            assert_eq!(find_from(text, b"\r\n--xx", &mut looked), Some(9), "{cut}");
        }
    }

    #[test]
    fn a_content_type_names_the_boundary() {
        assert_eq!(boundary("Multipart/Form-Data; boundary=\"a b\"").as_deref(), Some("a b"));
        assert_eq!(boundary("multipart/form-data; charset=x; Boundary=ab").as_deref(), Some("ab"));
        assert_eq!(boundary("multipart/mixed; boundary=ab"), None);
        assert_eq!(boundary("multipart/form-data"), None);
    }
}
