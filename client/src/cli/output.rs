//! Results on standard output: for people, or as JSON for programs.

use std::io::Write;

use serde_json::Value;

use super::exit::Failure;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs: one JSON value.
    Json,
}

/// Prints one line of data. A reader that went away is no error of ours.
pub fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    written(writeln!(std::io::stdout(), "{text}"))
}

/// Prints data without an end of line.
pub fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout();
    written(stdout.write_all(bytes).and_then(|()| stdout.flush()))
}

/// Prints the value in the format asked for; `text` makes the lines for people.
pub fn value(format: Format, value: &Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
    match format {
        Format::Json => line(value),
        Format::Text => {
            let text = text();
            if text.is_empty() { Ok(()) } else { line(text) }
        }
    }
}

fn written(result: std::io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.map_err(|e| Failure::io("standard output", &e)),
    }
}

/// Tells people something, on standard error.
pub fn note(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Bytes as people read them.
pub fn bytes_words(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Rows with aligned columns; the first is the heading.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> =
        (0..columns).map(|c| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0)).collect();
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect::<Vec<_>>().join("  ").trim_end().to_string()
        })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_readable() {
        assert_eq!(super::bytes_words(1023), "1023 B");
        assert_eq!(super::bytes_words(1536), "1.5 KiB");
        assert_eq!(super::bytes_words(5 << 30), "5.0 GiB");
    }
}
