//! Times as people read them.

use std::fmt::Display;

use chrono::{DateTime, Local, SecondsFormat, TimeZone};

/// `2026-11-21T12:27:59.120+01:00`: local time, as ISO 8601 has it, of milliseconds since 1970 UTC.
pub fn local(ms: u64) -> String {
    iso(ms, &Local)
}

fn iso<Tz: TimeZone<Offset: Display>>(ms: u64, zone: &Tz) -> String {
    let at = i64::try_from(ms).ok().and_then(DateTime::from_timestamp_millis);
    // Beyond the calendar the number says more than any date.
    at.map_or_else(|| format!("{ms} ms since 1970"), |at| at.with_timezone(zone).to_rfc3339_opts(SecondsFormat::Millis, false))
}

/// `12:27:59`: the local time of day of milliseconds since 1970 UTC.
pub fn clock(ms: u64) -> String {
    let at = i64::try_from(ms).ok().and_then(DateTime::from_timestamp_millis);
    at.map_or_else(|| "-".into(), |at| at.with_timezone(&Local).format("%H:%M:%S").to_string())
}

/// `3 d 4 h`, `5 m 20 s`, `0.4 s`: a span of milliseconds with two units at most.
pub fn span(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..10 => format!("{}.{} s", s, ms % 1000 / 100),
        10..60 => format!("{s} s"),
        60..3600 => format!("{} m {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} m", s / 3600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use chrono::{FixedOffset, Utc};

    use super::*;

    #[test]
    fn times_are_local_with_their_offset() {
        let east = FixedOffset::east_opt(5 * 3600 + 1800).expect("an offset");
        assert_eq!(iso(1_795_260_479_123, &east), "2026-11-21T16:57:59.123+05:30");
        assert_eq!(iso(951_782_400_000, &Utc), "2000-02-29T00:00:00.000+00:00");
        assert_eq!(iso(u64::MAX, &Utc), "18446744073709551615 ms since 1970");
    }

    #[test]
    fn spans_are_short() {
        assert_eq!(
            [span(400), span(12_000), span(320_000), span(11_000_000), span(273_600_000)],
            ["0.4 s", "12 s", "5 m 20 s", "3 h 3 m", "3 d 4 h"]
        );
    }
}
