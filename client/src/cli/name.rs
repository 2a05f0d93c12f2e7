//! Names of objects and paths of files: from one to the other, byte for byte, never out of the directory asked for.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::exit::Failure;

/// A name, as people read it.
pub fn shown(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_string(),
        _ => name.escape_ascii().to_string(),
    }
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
        return Err(Failure::usage(format!("the name `{}` is no path of a file: get that object by itself", shown(rest))));
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
