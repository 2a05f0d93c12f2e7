//! The socket at which fault points are listed and armed.

use std::fs::Permissions;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use super::Point;
use super::armed::{self, Action, Armed};

/// Longest line of a request.
const LINE_BYTES_MAX: u64 = 4096;
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(10);
/// Longest delay.
const DELAY_MS_MAX: u64 = 600_000;

/// Listens at `path` from now on, on a thread of its own, one connection at a time.
///
/// # Errors
/// Where that cannot be: another file is there, or the path is too long for a socket.
pub fn serve(path: &Path, points: &'static [&'static Point]) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        // That of a process before this one.
        Ok(known) if known.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is no socket", path.display()))),
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    armed::begin();
    tracing::warn!(path = %path.display(), "fault points may be armed: this is no process for anybody's data");
    std::thread::Builder::new().name("points".into()).spawn(move || {
        for stream in listener.incoming().flatten() {
            // Who goes away has no use for an error.
            let _ = talk(stream, points);
        }
    })?;
    Ok(())
}

fn talk(stream: UnixStream, points: &'static [&'static Point]) -> io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut line = String::new();
        if reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let answer = match request(line.trim(), points) {
            Ok(text) => format!("{text}ok\n"),
            Err(why) => format!("error: {why}\n"),
        };
        stream.write_all(answer.as_bytes())?;
    }
}

/// Does what a line asks for; what is said before the `ok`.
fn request(line: &str, points: &'static [&'static Point]) -> Result<String, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let point = |name: &str| points.iter().find(|point| point.name == name).copied().ok_or_else(|| format!("there is no point {name}"));
    match words[..] {
        ["list"] => Ok(points.iter().map(|point| listed(point)).collect()),
        ["arm", name, action, ref more @ ..] => armed::arm(point(name)?, how(action, more)?).map(|()| String::new()),
        ["disarm", "all"] => {
            points.iter().for_each(|point| armed::disarm(point));
            Ok(String::new())
        }
        ["disarm", name] => {
            armed::disarm(point(name)?);
            Ok(String::new())
        }
        _ => Err("say list, arm NAME ACTION [skip=N] [times=N] [percent=N], or disarm NAME|all".into()),
    }
}

fn listed(point: &'static Point) -> String {
    let (how, passed, acted) = armed::look(point);
    let how = how.map_or_else(|| "-".to_string(), |how| format!("{how:?}"));
    format!("{}\t{passed}\t{acted}\t{how}\t{}\n", point.name, point.about)
}

fn how(action: &str, more: &[&str]) -> Result<Armed, String> {
    let number = |word: &str, text: &str| text.parse::<u64>().map_err(|_| format!("{word} is a number, not {text}"));
    let action = match action.split_once('=') {
        None if action == "error" => Action::Error,
        None if action == "crash" => Action::Crash,
        None if action == "hang" => Action::Hang,
        Some(("delay", ms)) => Action::Delay(Duration::from_millis(number("delay", ms)?.min(DELAY_MS_MAX))),
        _ => return Err(format!("{action} is no action: say error, crash, hang or delay=MS")),
    };
    let mut armed = Armed { action, skip: 0, times: None, percent: 100 };
    for word in more {
        match word.split_once('=') {
            Some(("skip", text)) => armed.skip = number("skip", text)?,
            Some(("times", text)) => armed.times = Some(number("times", text)?),
            Some(("percent", text)) => armed.percent = u32::try_from(number("percent", text)?).unwrap_or(100).min(100),
            _ => return Err(format!("{word} is nothing that a point is armed with")),
        }
    }
    Ok(armed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::points::Injected;

    static ONE: Point = Point::failing("one-step", "A step is done.");
    static OTHER: Point = Point::new("other-step", "Another.");
    static POINTS: &[&Point] = &[&ONE, &OTHER];

    fn ask(path: &Path, line: &str) -> String {
        let mut stream = UnixStream::connect(path).expect("a socket");
        stream.write_all(format!("{line}\n").as_bytes()).expect("it is read");
        let (mut answer, mut reader) = (String::new(), BufReader::new(stream));
        while !answer.ends_with("ok\n") && !answer.contains("error: ") {
            assert!(reader.read_line(&mut answer).expect("an answer") > 0, "{answer}");
        }
        answer
    }

    // One test, because what is armed belongs to the process.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_armed_at_the_socket_acts_as_often_as_it_says_and_what_hangs_goes_on_when_disarmed() {
        assert_eq!(ONE.pass(), Ok(()), "without a socket nothing acts");
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("points");
        serve(&path, POINTS).expect("it listens");
        assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);

        for (wrong, why) in [
            ("arm no-step crash", "there is no point no-step"),
            ("arm other-step error", "cannot fail"),
            ("arm one-step burn", "no action"),
            ("arm one-step crash skip=x", "skip is a number"),
            ("arm one-step crash often", "nothing that a point is armed with"),
            ("", "say list"),
        ] {
            let answer = ask(&path, wrong);
            assert!(answer.starts_with("error: ") && answer.contains(why), "{wrong}: {answer}");
        }

        assert_eq!(ask(&path, "arm one-step error skip=1 times=2"), "ok\n");
        let passed: Vec<_> = (0..4).map(|_| ONE.pass()).collect();
        let failed = Err(Injected("one-step"));
        assert_eq!(passed, [Ok(()), failed.clone(), failed, Ok(())]);
        let list = ask(&path, "list");
        assert!(list.starts_with("one-step\t4\t2\tArmed") && list.contains("other-step\t0\t0\t-\tAnother.\n"), "{list}");

        assert_eq!(ask(&path, "arm other-step hang"), "ok\n");
        let (thread, task) = (std::thread::spawn(|| OTHER.pass()), tokio::spawn(OTHER.pass_in_task()));
        while !ask(&path, "list").contains("other-step\t2\t2") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(!thread.is_finished() && !task.is_finished());
        assert_eq!(ask(&path, "disarm all"), "ok\n");
        assert_eq!((thread.join().expect("it ends"), task.await.expect("it ends")), (Ok(()), Ok(())));

        std::fs::write(directory.path().join("file"), "x").expect("written");
        assert_eq!(serve(&directory.path().join("file"), POINTS).expect_err("a file").kind(), io::ErrorKind::AlreadyExists);
    }
}
