//! Which names are good: of objects and keys, of buckets and indices.

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

#[cfg(test)]
mod tests {
    use super::*;

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
