//! Manual pages and shell completions, made from the command line as the program itself understands it.
//!
//! Packaging calls `PROGRAM --pages DIR`, which stands in no help: who builds packages is not who uses them.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

/// The argument that asks for the pages.
const ARGUMENT: &str = "--pages";
/// For which shells there are completions.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Writes the pages of a program and says how it ends, where its command line asks for them and nothing else.
///
/// `section` is that of the manual: 1 for commands, 8 for daemons.
pub fn asked<P: CommandFactory>(section: &str) -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let (first, dir) = (arguments.next()?, arguments.next()?);
    if first != OsStr::new(ARGUMENT) || arguments.next().is_some() {
        return None;
    }
    match write(P::command(), section, Path::new(&dir)) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("{}: {error}", Path::new(&dir).display());
            Some(ExitCode::FAILURE)
        }
    }
}

/// Writes `man/`, a page for the program and for each of its verbs, and `completions/`, below `dir`.
pub fn write(command: Command, section: &str, dir: &Path) -> std::io::Result<()> {
    let (man, completions) = (dir.join("man"), dir.join("completions"));
    std::fs::create_dir_all(&man)?;
    std::fs::create_dir_all(&completions)?;
    let mut command = command.disable_help_subcommand(true);
    let name = command.get_name().to_string();
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut command, &name, &completions)?;
    }
    command.build();
    pages(&command, section, &man)
}

fn pages(command: &Command, section: &str, dir: &Path) -> std::io::Result<()> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).section(section.to_string()).render(&mut page)?;
    // The parts of its name joined, as in redoubt-obj-put(1).
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    std::fs::write(dir.join(format!("{name}.{section}")), page)?;
    command.get_subcommands().filter(|verb| !verb.is_hide_set()).try_for_each(|verb| pages(verb, section, dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page_and_every_shell_its_completions() {
        let dir = tempfile::tempdir().expect("a directory");
        let verb = Command::new("put").about("Puts").arg(clap::Arg::new("file").help("What"));
        let command = Command::new("tool").about("Does things").version("1").subcommand(Command::new("obj").subcommand(verb));
        write(command, "1", dir.path()).expect("pages");
        let names = |part: &str| {
            let entries = std::fs::read_dir(dir.path().join(part)).expect("a directory");
            let mut names: Vec<String> = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(names("man"), ["tool-obj-put.1", "tool-obj.1", "tool.1"]);
        assert_eq!(names("completions"), ["_tool", "tool.bash", "tool.fish"]);
        let page = std::fs::read_to_string(dir.path().join("man/tool-obj-put.1")).expect("a page");
        assert!(page.contains("Puts") && page.contains(".TH tool"), "{page}");
    }
}
