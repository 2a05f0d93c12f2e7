//! Results on standard output: for people, or as JSON for programs. Colours only on a terminal, and never where `NO_COLOR` is set.

use std::io::{IsTerminal, Write};

use serde_json::Value;

use crate::exit::{Exit, Failure};

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs: one JSON value.
    Json,
}

/// What a value means for the cluster's health; the colour of its cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// Nothing in particular.
    Plain,
    /// As it should be.
    Good,
    /// On its way, or not whole.
    Warn,
    /// Away, failed or refused.
    Bad,
}

/// One cell of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl<T: ToString> From<T> for Cell {
    fn from(value: T) -> Self {
        Self { text: value.to_string(), tone: Tone::Plain }
    }
}

/// A cell with a colour.
pub fn toned(value: impl ToString, tone: Tone) -> Cell {
    Cell { text: value.to_string(), tone }
}

/// A cell of a state: ONLINE is good, what is on its way a warning, the rest bad.
pub fn state(value: impl ToString) -> Cell {
    let text = value.to_string();
    let tone = tone_of_state(&text);
    Cell { text, tone }
}

/// The colour of a state.
pub fn tone_of_state(state: &str) -> Tone {
    match state {
        "ONLINE" => Tone::Good,
        "RECOVERING" | "REPAIRING" | "REPAIRED" | "REBALANCING" => Tone::Warn,
        _ => Tone::Bad,
    }
}

/// Whether standard output takes colours.
pub fn coloured() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// A text in its colour.
pub fn paint(text: &str, tone: Tone, coloured: bool) -> String {
    let code = match tone {
        Tone::Good => "32",
        Tone::Warn => "33",
        Tone::Bad => "31",
        Tone::Plain => return text.to_string(),
    };
    if coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
}

/// Rows with aligned columns below a heading.
pub fn table(heading: &[&str], rows: &[Vec<Cell>], coloured: bool) -> String {
    let heading: Vec<Cell> = heading.iter().map(Cell::from).collect();
    let all = || std::iter::once(&heading).chain(rows);
    let width = |column: usize| all().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let line = |row: &Vec<Cell>| {
        let mut out = String::new();
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            out.push_str(&paint(&cell.text, cell.tone, coloured));
            if i + 1 < row.len() {
                out.push_str(&" ".repeat(width - cell.text.chars().count() + 2));
            }
        }
        out.trim_end().to_string()
    };
    all().map(line).collect::<Vec<_>>().join("\n")
}

/// Names and values below each other.
pub fn fields(rows: &[(&str, Cell)], coloured: bool) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, cell): &(&str, Cell)| format!("{name:<width$}  {}", paint(&cell.text, cell.tone, coloured));
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Bytes as people read them.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Prints the value in the format asked for.
pub fn show(format: Format, value: &Value, text: impl FnOnce(bool) -> String) -> Result<(), Failure> {
    match format {
        Format::Json => print(&value.to_string()),
        Format::Text => print(&text(coloured())),
    }
}

/// Prints text and an end of line. A reader that went away is no error of ours.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::new(Exit::Failure, format!("standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_with_and_without_colours() {
        let rows = vec![vec!["node-1".into(), state("ONLINE"), "x".into()], vec!["n".into(), state("TRANSIENT"), "y".into()]];
        assert_eq!(table(&["NODE", "STATE", "Z"], &rows, false), "NODE    STATE      Z\nnode-1  ONLINE     x\nn       TRANSIENT  y");
        let coloured = table(&["NODE", "STATE", "Z"], &rows, true);
        assert!(coloured.contains("\x1b[32mONLINE\x1b[0m     x") && coloured.contains("\x1b[31mTRANSIENT\x1b[0m  y"));
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!([bytes(1023), bytes(1536), bytes(5 << 30)], ["1023 B", "1.5 KiB", "5.0 GiB"]);
    }
}
