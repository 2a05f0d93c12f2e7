//! Source files: heads, lengths, module style, banned words, and files that nobody would miss.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// A file past this is asking for a second file. Tests at its end do not count.
const FILE_LINES_MAX: usize = 500;
/// Larger files are blobs; they belong elsewhere.
const FILE_BYTES_MAX: u64 = 512 * 1024;

/// What product code may not say, and why.
const BANNED: &[(&str, &str)] = &[
    (concat!("to", "do!("), "unfinished code"),
    (concat!("unimple", "mented!("), "unfinished code"),
    (concat!("FIX", "ME"), "do it, or file it"),
    (concat!("TO", "DO"), "do it, or file it"),
    (concat!("XX", "X"), "do it, or file it"),
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/ro", "ot/"), "a path of one machine"),
];

/// What pure crates may not name: time, entropy, threads, files, sockets, unordered maps.
const BANNED_PURE: &[&str] =
    &["std::time::Instant", "SystemTime", "std::thread", "std::fs", "std::net", "HashMap", "HashSet", "thread_rng", "std::env"];
const PURE: &[&str] = &["types/src/", "layout/src/", "dtm/src/", "ha/state/src/"];

/// Findings about files, one line each.
pub fn check(root: &Path, files: &[String]) -> anyhow::Result<Vec<String>> {
    let mut findings = Vec::new();
    for file in files {
        let path = root.join(file);
        let bytes = fs::metadata(&path).with_context(|| file.clone())?.len();
        if bytes > FILE_BYTES_MAX {
            findings.push(format!("{file}: {bytes} bytes; at most {FILE_BYTES_MAX}"));
            continue;
        }
        if file.ends_with("/mod.rs") {
            findings.push(format!("{file}: modules are foo.rs beside foo/, never mod.rs"));
        }
        let Ok(text) = fs::read_to_string(&path) else { continue };
        if file.ends_with(".rs") {
            rust(file, &text, &mut findings);
        }
        if text.lines().any(|l| l.ends_with(' ') || l.ends_with('\t')) && !file.ends_with(".md") {
            findings.push(format!("{file}: trailing white space"));
        }
    }
    Ok(findings)
}

fn rust(file: &str, text: &str, findings: &mut Vec<String>) {
    if !text.starts_with("//!") {
        findings.push(format!("{file}: opens with //! (what it is, what it guarantees, what it leaves to others)"));
    }
    let product = text.split("\n#[cfg(test)]").next().unwrap_or(text);
    let is_test = file.contains("/tests/") || file.contains("/benches/") || file.ends_with("/tests.rs") || file.ends_with("_test.rs");
    let lines = product.lines().count();
    if !is_test && lines > FILE_LINES_MAX {
        findings.push(format!("{file}: {lines} lines of product code; at most {FILE_LINES_MAX}"));
    }
    if file.starts_with("xtask/") {
        return;
    }
    for (number, line) in (1..).zip(product.lines()) {
        for (word, why) in BANNED {
            if line.contains(word) {
                findings.push(format!("{file}:{number}: `{word}`: {why}"));
            }
        }
        let code = line.trim_start();
        if PURE.iter().any(|p| file.starts_with(p)) && !code.starts_with("//") {
            for word in BANNED_PURE.iter().filter(|w| line.contains(**w)) {
                findings.push(format!("{file}:{number}: `{word}` in a pure crate"));
            }
        }
    }
}
