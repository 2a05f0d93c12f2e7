//! Which names are good: of objects and keys, of buckets and indices; and how bytes are shown as text and read back: `docs/names.md`.

use types::limits::{CATALOGUE_NAME_BYTES_MAX, NAME_BYTES_MAX, VALUE_BYTES_MAX};

use crate::Error;

/// A name of an object or a key of an index: 1 to 1024 bytes, any bytes.
pub fn check_name(what: &str, name: &[u8]) -> Result<(), Error> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(Error::Invalid(format!("{what} has {} bytes: say 1 to {NAME_BYTES_MAX}", name.len())));
    }
    Ok(())
}

/// A name of a bucket or an index: 1 to 255 bytes of printable text, without a slash.
pub fn check_catalogue_name(what: &str, name: &str) -> Result<(), Error> {
    if name.is_empty() || name.len() > CATALOGUE_NAME_BYTES_MAX {
        return Err(Error::Invalid(format!("{what} has {} bytes: say 1 to {CATALOGUE_NAME_BYTES_MAX}", name.len())));
    }
    if name.chars().any(|c| c.is_control() || c == '/') {
        return Err(Error::Invalid(format!("{what} `{}` has control characters or a slash: leave them out", name.escape_debug())));
    }
    Ok(())
}

/// A value of an index: at most 64 KiB.
pub fn check_value(what: &str, value: &[u8]) -> Result<(), Error> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(Error::Invalid(format!("{what} has {} bytes: at most {VALUE_BYTES_MAX}; store it as an object", value.len())));
    }
    Ok(())
}

/// Bytes as text, so that no two look the same: what is not printable UTF-8 is `\\xNN` a byte, a backslash is two. [`unescaped`] goes back.
pub fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let hex = |text: &mut String, bytes: &[u8]| bytes.iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if is_hidden(c) => hex(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes()),
                c => text.push(c),
            }
        }
        hex(&mut text, chunk.invalid());
    }
    text
}

/// Whether a character is not seen, or changes how others are.
fn is_hidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The bytes that a text of [`escaped`] stands for. Whatever has no backslash stands for itself.
pub fn unescaped(text: &[u8]) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let (byte, after) = match (first, after) {
            (b'\\', [b'\\', after @ ..]) => (b'\\', after),
            (b'\\', [b'x', high, low, after @ ..]) => (hex_byte(*high, *low).ok_or_else(|| no_escape(text))?, after),
            (b'\\', _) => return Err(no_escape(text)),
            (plain, after) => (plain, after),
        };
        bytes.push(byte);
        rest = after;
    }
    Ok(bytes)
}

fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

fn no_escape(text: &[u8]) -> Error {
    let shown = String::from_utf8_lossy(text);
    Error::Invalid(format!("in the name `{shown}` a backslash begins no escape: say \\\\ for a backslash, \\xNN for a byte"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_names_look_the_same_and_each_is_read_back() {
        let cases: [(&[u8], &str); 7] = [
            (b"photos/2026 \xc3\xa4.jpg", "photos/2026 \u{e4}.jpg"),
            (b"a\nb", "a\\x0ab"),
            (b"a\\nb", "a\\\\nb"),
            (b"\\x0a", "\\\\x0a"),
            (b"\xff\xc3", "\\xff\\xc3"),
            (b"\xe2\x80\xaegpj", "\\xe2\\x80\\xaegpj"),
            (b"tail/", "tail/"),
        ];
        for (name, text) in cases {
            assert_eq!(escaped(name), text);
            assert_eq!(unescaped(text.as_bytes()).expect("goes back"), name);
        }
        let every: Vec<u8> = (0..=255).collect();
        assert_eq!(unescaped(escaped(&every).as_bytes()).expect("goes back"), every);
        // Bytes that are no UTF-8 are taken as they are, too.
        assert_eq!(unescaped(b"\xff").expect("as it is"), b"\xff");
        for bad in [&b"\\"[..], b"a\\b", b"\\x", b"\\x1", b"\\xg0", b"\\x+1"] {
            assert!(matches!(unescaped(bad), Err(Error::Invalid(_))), "{}", escaped(bad));
        }
    }

    #[test]
    fn names_have_1_to_1024_bytes() {
        assert!(check_name("name", b"").is_err());
        assert!(check_name("name", b"a").is_ok());
        assert!(check_name("name", &[0xff; 1024]).is_ok());
        let error = check_name("the name", &[b'a'; 1025]).expect_err("too long").to_string();
        assert_eq!(error, "the name has 1025 bytes: say 1 to 1024");
    }

    #[test]
    fn names_of_buckets_are_printable() {
        assert!(check_catalogue_name("bucket", "photos 2026").is_ok());
        for bad in ["", "a/b", "a\nb", &"x".repeat(256)] {
            assert!(check_catalogue_name("bucket", bad).is_err(), "{bad}");
        }
    }
}
