//! Names of objects and paths of files: from one to the other, byte for byte, never out of the directory asked for.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};
pub use client::escaped as shown;
use client::unescaped;

use super::exit::Failure;

/// A name or a key of the command line, in the form that lists show.
#[derive(Clone, Debug, Default)]
pub struct Name(Vec<u8>);

impl Name {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Reads names of the command line.
pub fn parser() -> impl TypedValueParser<Value = Name> {
    OsStringValueParser::new().try_map(|text| unescaped(text.as_bytes()).map(Name))
}

/// The name of a file below a directory that is stored as `base`.
pub fn joined(base: &[u8], relative: &Path) -> Vec<u8> {
    let mut name = base.to_vec();
    if !name.is_empty() && !name.ends_with(b"/") {
        name.push(b'/');
    }
    name.extend_from_slice(relative.as_os_str().as_bytes());
    name
}

/// The file below `directory` for an object whose name goes on with `rest` after the prefix asked for.
pub fn below(directory: &Path, rest: &[u8]) -> Result<PathBuf, Failure> {
    let rest = rest.strip_prefix(b"/").unwrap_or(rest);
    let relative = Path::new(OsStr::from_bytes(rest));
    let plain = relative.components().all(|c| matches!(c, Component::Normal(_)));
    if rest.is_empty() || rest.contains(&0) || !plain || rest.ends_with(b"/") {
        return Err(Failure::usage(format!(
            "the name `{}` is no path of a file: get that object by itself, into a file that you name",
            shown(rest)
        )));
    }
    Ok(directory.join(relative))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_go_both_ways() {
        assert_eq!(joined(b"tree", Path::new("a/b")), b"tree/a/b");
        assert_eq!(joined(b"tree/", Path::new("a")), b"tree/a");
        assert_eq!(joined(b"", Path::new("a")), b"a");
        assert_eq!(below(Path::new("/to"), b"a/b").expect("a path"), Path::new("/to/a/b"));
        assert_eq!(below(Path::new("/to"), b"/a").expect("a path"), Path::new("/to/a"));
    }

    #[test]
    fn no_name_leads_out_of_the_directory() {
        for bad in [&b"../a"[..], b"a/../../b", b"//etc/passwd", b"", b"a/", b"a\0b", b"./../x"] {
            assert!(below(Path::new("/to"), bad).is_err(), "{}", shown(bad));
        }
    }
}
