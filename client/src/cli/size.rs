//! Sizes on the command line: `4096`, `64KiB`, `16MiB`, `4GiB`, also `64K` and `64k`; all powers of 1024.

/// The bytes that a text means.
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size: say 4096, 64KiB, 16MiB or 4GiB");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_read_as_they_are_written() {
        assert_eq!(super::parse("4096"), Ok(4096));
        assert_eq!(super::parse("64KiB"), Ok(65536));
        assert_eq!(super::parse("16MiB"), Ok(16 << 20));
        assert_eq!(super::parse("2g"), Ok(2 << 30));
        for bad in ["", "x", "1x", "-1", "99999999999T"] {
            assert!(super::parse(bad).is_err(), "{bad}");
        }
    }
}
