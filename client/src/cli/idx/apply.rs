//! `redoubt idx apply INDEX`: puts and deletes from a file or standard input, all of them or none.

use std::io::Read;
use std::path::PathBuf;

use client::{Condition, Transaction, unescaped};
use serde_json::json;
use types::limits::{DTX_BYTES_MAX, INLINE_BYTES_MAX};

use super::if_version;
use crate::cli::connect::with_client;
use crate::cli::exit::Failure;
use crate::cli::{Common, output};

/// Longest input: a transaction in the longest form that its bytes can be written in, and room for the words.
const INPUT_BYTES_MAX: u64 = 8 * (DTX_BYTES_MAX + INLINE_BYTES_MAX) as u64;

/// Arguments of `idx apply`.
#[derive(clap::Args)]
#[command(after_help = "\
One change a line, its fields separated by one tab; keys and values in the form that `idx scan` shows (`\\xNN`, `\\\\`):
  put      KEY  VALUE            sets a key
  del      KEY                   removes a key, if it is there
  put-new  KEY  VALUE            sets a key; nothing is done where it is there
  put-if   VERSION  KEY  VALUE   sets a key; nothing is done where it is not at that version
  del-if   VERSION  KEY          removes a key; nothing is done where it is not at that version
Empty lines are left out. Conditions may be on keys of one group only; most often that is one key.
Either all of it happens or nothing does, also where nodes fail in the middle; a reader may see one key of it before another.")]
pub struct Arguments {
    /// The index
    index: String,
    /// Take the changes from this file; `-` is standard input
    #[arg(short, long, default_value = "-")]
    file: PathBuf,
}

impl Arguments {
    fn input(&self) -> Result<Vec<u8>, Failure> {
        let mut text = Vec::new();
        let read = if self.file.as_os_str() == "-" {
            std::io::stdin().take(INPUT_BYTES_MAX + 1).read_to_end(&mut text)
        } else {
            std::fs::File::open(&self.file).and_then(|file| file.take(INPUT_BYTES_MAX + 1).read_to_end(&mut text))
        };
        read.map_err(|e| Failure::io(self.file.display(), &e))?;
        if text.len() as u64 > INPUT_BYTES_MAX {
            return Err(Failure::usage(format!("the changes are more than {INPUT_BYTES_MAX} bytes: no transaction is so large")));
        }
        Ok(text)
    }
}

/// Reads changes, one a line.
fn changes(index: &str, text: &[u8]) -> Result<Transaction, Failure> {
    let mut transaction = Transaction::new();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() {
            change(index, line, &mut transaction).map_err(|what| Failure::usage(format!("line {}: {what}", number + 1)))?;
        }
    }
    Ok(transaction)
}

fn change(index: &str, line: &[u8], transaction: &mut Transaction) -> Result<(), String> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b'\t').collect();
    let bytes = |text: &[u8]| unescaped(text).map_err(|error| error.to_string());
    let version = |text: &[u8]| {
        let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        let condition = if_version(number);
        condition.ok_or_else(|| format!("`{}` is no version", client::escaped(text)))
    };
    match fields[..] {
        [b"put", key, value] => transaction.put(index, &bytes(key)?, &bytes(value)?),
        [b"del", key] => transaction.delete(index, &bytes(key)?),
        [b"put-new", key, value] => transaction.put_if(index, &bytes(key)?, &bytes(value)?, Condition::Absent),
        [b"put-if", at, key, value] => transaction.put_if(index, &bytes(key)?, &bytes(value)?, version(at)?),
        [b"del-if", at, key] => transaction.delete_if(index, &bytes(key)?, version(at)?),
        _ => {
            return Err(
                "not `put KEY VALUE`, `del KEY`, `put-new KEY VALUE`, `put-if VERSION KEY VALUE` or `del-if VERSION KEY`, with tabs".into(),
            );
        }
    };
    Ok(())
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let transaction = changes(&arguments.index, &arguments.input()?)?;
    if transaction.is_empty() {
        return Err(Failure::usage("there is nothing to do: the input has no changes"));
    }
    with_client(common, |client| async move {
        let done = client.commit(&transaction).await?;
        output::value(common.output, &json!({"index": arguments.index, "changes": done.changes, "groups": done.groups}), String::new)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_change_is_read_and_what_is_none_names_its_line() {
        let text = b"put\tk\\x01\tv v\n\r\ndel\tk\nput-new\tk\t\nput-if\t7\tk\tv\ndel-if\t7\tk";
        assert_eq!(changes("i", text).expect("changes").len(), 5);
        for (bad, line) in [(&b"put\tk"[..], 1), (b"del\tk\nfrob\tk", 2), (b"put-if\tx\tk\tv", 1), (b"\nput\t\\z\tv", 2), (b"put k v", 1)] {
            let error = changes("i", bad).expect_err("no change");
            assert!(error.message.starts_with(&format!("line {line}: ")), "{}", error.message);
        }
    }
}
