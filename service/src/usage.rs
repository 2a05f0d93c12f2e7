//! A command line that makes no sense, said in the format that it asked for.

use std::ffi::OsString;

/// Whether a command line asks for JSON, though it cannot be read as a whole.
pub fn wants_json(arguments: impl IntoIterator<Item = OsString>) -> bool {
    let mut before = OsString::new();
    for argument in arguments {
        if argument == "--" {
            return false;
        }
        if argument == "--output=json" || (before == "--output" && argument == "json") {
            return true;
        }
        before = argument;
    }
    false
}

/// What is wrong with it, in one line.
pub fn said(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(line: &str) -> bool {
        wants_json(line.split(' ').map(OsString::from))
    }

    #[test]
    fn json_is_asked_for_wherever_the_option_stands_and_not_by_what_is_a_name() {
        assert!(asks("ha --output json nonsense") && asks("ha status --watch --output=json --what"));
        assert!(!asks("ha status --output text json") && !asks("redoubt obj put -- --output=json") && !asks("ha"));
    }

    #[test]
    fn what_is_wrong_is_one_line() {
        let error =
            clap::Command::new("ha").arg(clap::Arg::new("file").required(true)).try_get_matches_from(["ha"]).expect_err("none is given");
        let said = said(&error);
        assert!(!said.contains('\n') && !said.starts_with("error") && said.contains("<file>"), "{said}");
    }
}
