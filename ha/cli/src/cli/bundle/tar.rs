//! An archive of small files in the form that every `tar` reads (POSIX ustar).

use std::io::{self, Write};

const BLOCK: usize = 512;
/// Longest name of a file in it.
const NAME_BYTES_MAX: usize = 100;

/// Adds a file. Names are ours: short, and relative.
pub fn add(out: &mut impl Write, name: &str, seconds: u64, body: &[u8]) -> io::Result<()> {
    if name.len() > NAME_BYTES_MAX {
        return Err(io::Error::other(format!("the name `{name}` is too long")));
    }
    let mut header = [0_u8; BLOCK];
    header[..name.len()].copy_from_slice(name.as_bytes());
    octal(&mut header[100..108], 0o600);
    octal(&mut header[108..116], 0);
    octal(&mut header[116..124], 0);
    octal(&mut header[124..136], body.len() as u64);
    octal(&mut header[136..148], seconds);
    header[148..156].fill(b' ');
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut header[148..155], sum);
    out.write_all(&header)?;
    out.write_all(body)?;
    out.write_all(&[0; BLOCK][..body.len().next_multiple_of(BLOCK) - body.len()])
}

/// Ends it.
pub fn end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

/// Digits that fill the field but for its last byte, which is 0.
fn octal(field: &mut [u8], value: u64) {
    let digits = format!("{value:0width$o}", width = field.len() - 1);
    field[..digits.len()].copy_from_slice(digits.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn tar_itself_unpacks_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.tar");
        let mut file = std::fs::File::create(&path).expect("a file");
        let bodies = [Vec::new(), b"short".to_vec(), vec![7; 512], vec![9; 1_000_003]];
        for (at, body) in bodies.iter().enumerate() {
            add(&mut file, &format!("some/file-{at}"), 1_795_260_479, body).expect("added");
        }
        end(&mut file).expect("ended");
        let unpacked = Command::new("tar").arg("-xf").arg(&path).arg("-C").arg(dir.path()).output().expect("tar runs");
        assert!(unpacked.status.success() && unpacked.stderr.is_empty(), "{unpacked:?}");
        for (at, body) in bodies.iter().enumerate() {
            assert!(std::fs::read(dir.path().join(format!("some/file-{at}"))).expect("unpacked") == *body, "{at}");
        }
        assert!(add(&mut file, &"x".repeat(101), 0, b"").is_err());
    }
}
