//! Durations and sizes as scenario files write them: `200ms`, `3s`, `2m`; `100`, `64KiB`, `128MiB`.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A duration of a scenario.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A size in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// Units of time, in milliseconds.
const TIMES: &[(&str, f64)] = &[("ms", 1.0), ("s", 1_000.0), ("m", 60_000.0), ("h", 3_600_000.0)];
/// Units of size, in bytes.
const SIZES: &[(&str, f64)] = &[("B", 1.0), ("KiB", 1024.0), ("MiB", 1_048_576.0), ("GiB", 1_073_741_824.0), ("", 1.0)];
/// Longest duration: a day.
const SPAN_MS_MAX: f64 = 86_400_000.0;
/// Largest size: what a double counts exactly.
const BYTES_MAX: f64 = 9_007_199_254_740_992.0;

fn parse(text: &str, units: &[(&str, f64)], most: f64) -> Option<f64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let scale = units.iter().find(|(name, _)| *name == unit.trim())?.1;
    let value = number.parse::<f64>().ok()? * scale;
    (value <= most).then_some(value)
}

impl Span {
    /// Of a text.
    pub fn parse(text: &str) -> Option<Self> {
        // In range by the check in `parse`.
        parse(text, TIMES, SPAN_MS_MAX).map(|ms| Self(Duration::from_micros((ms * 1000.0) as u64)))
    }
}

impl Bytes {
    /// Of a text.
    pub fn parse(text: &str) -> Option<Self> {
        // In range by the check in `parse`.
        parse(text, SIZES, BYTES_MAX).map(|bytes| Self(bytes as u64))
    }
}

struct Text<T>(fn(&str) -> Option<T>, &'static str);

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.1)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).ok_or_else(|| E::custom(format!("`{text}` is not {}", self.1)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(Self::parse, "a duration, as 200ms, 3s or 2m"))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(Self::parse, "a size, as 100, 64KiB or 2MiB"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_have_units_and_bounds() {
        assert_eq!(Span::parse("200ms"), Some(Span(Duration::from_millis(200))));
        assert_eq!(Span::parse("1.5s"), Some(Span(Duration::from_millis(1500))));
        assert_eq!(Span::parse("2m"), Some(Span(Duration::from_secs(120))));
        assert_eq!(Bytes::parse("64KiB"), Some(Bytes(65_536)));
        assert_eq!(Bytes::parse("100"), Some(Bytes(100)));
        for wrong in ["", "3", "s", "3 days", "-1s", "99999h", "1.2.3s"] {
            assert_eq!(Span::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Bytes::parse("12KB"), None);
    }
}
