//! The terminal of `ha top`: its other screen, keys without a return, its size; all as before when this is dropped.

use std::io::{Error, IsTerminal, Result, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

use super::screen::Line;
use super::view::Key;

/// Size of a terminal that does not say.
const SIZE: (u16, u16) = (80, 24);
/// Other screen, no cursor, no new line by itself.
const BEGIN: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
/// All that taken back.
const END: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// A terminal that is drawn on.
pub struct Terminal {
    /// Where keys come from, and how it was; none where standard input is no terminal.
    keys: Option<Keys>,
}

struct Keys {
    come: mpsc::Receiver<Result<Key>>,
    input: OwnedFd,
    before: Termios,
}

/// Keys that wait to be looked at.
const KEYS_MAX: usize = 64;

/// Columns and rows of the terminal.
pub fn size() -> (u16, u16) {
    match tcgetwinsize(std::io::stdout().as_fd()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        _ => SIZE,
    }
}

impl Terminal {
    /// Takes the terminal.
    pub fn begin() -> Result<Self> {
        let stdin = std::io::stdin();
        let keys = if stdin.is_terminal() {
            let input = stdin.as_fd().try_clone_to_owned()?;
            let before = tcgetattr(&input)?;
            let mut raw = before.clone();
            raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
            tcsetattr(&input, OptionalActions::Now, &raw)?;
            let (tell, come) = mpsc::channel(KEYS_MAX);
            let from = input.try_clone()?;
            // A thread of its own, which ends with the process: nobody can be made to stop waiting for a key.
            std::thread::spawn(move || read_keys(&from, &tell));
            Some(Keys { come, input, before })
        } else {
            None
        };
        let terminal = Self { keys };
        write(BEGIN)?;
        Ok(terminal)
    }

    /// Columns and rows.
    pub fn size(&self) -> (u16, u16) {
        size()
    }

    /// Shows these lines and nothing else.
    pub fn show(&mut self, lines: &[Line], coloured: bool) -> Result<()> {
        let lines: Vec<String> = lines.iter().map(|line| format!("{}\x1b[K", line.painted(coloured))).collect();
        write(&format!("\x1b[H{}\x1b[J", lines.join("\r\n")))
    }

    /// The next key; never, where there is none to come.
    pub async fn key(&mut self) -> Result<Key> {
        let Some(keys) = &mut self.keys else { return std::future::pending().await };
        keys.come.recv().await.unwrap_or(Ok(Key::Quit))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = write(END);
        if let Some(keys) = &self.keys {
            let _ = tcsetattr(&keys.input, OptionalActions::Now, &keys.before);
        }
    }
}

/// Until the terminal is gone, or nobody wants to know.
fn read_keys(from: &OwnedFd, tell: &mpsc::Sender<Result<Key>>) {
    loop {
        let mut bytes = [0; 16];
        let told = match rustix::io::read(from, &mut bytes) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => vec![Err(Error::from(error))],
            Ok(0) => vec![Ok(Key::Quit)],
            Ok(length) => Key::all(&bytes[..length]).into_iter().map(Ok).collect(),
        };
        for key in told {
            let failed = key.is_err();
            if tell.blocking_send(key).is_err() || failed {
                return;
            }
        }
    }
}

fn write(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
