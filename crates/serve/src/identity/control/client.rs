//! Asks the control plane that uses a state folder.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Answer, Ask, LINE_BYTES, Preview, SOCKET, Status};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// Nobody is there.
    #[error("{path}: no control plane answers there: {error}; `meltemi serve --state-dir` must be running with this folder, as the same user", path = .path.display())]
    Nobody {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It left in the midst of it.
    #[error("the control plane does not answer any more: {0}")]
    Left(io::Error),
    /// It answers something else.
    #[error("the control plane's answer cannot be understood; is it of another version?")]
    Strange,
    /// It says no.
    #[error("{0}")]
    Refused(String),
    /// The time is up.
    #[error("the time is up; what was begun goes on, and `meltemi ca status` shows it")]
    TimeUp,
}

/// What signs now.
///
/// # Errors
/// See [`Failed`].
pub fn status(folder: &Path) -> Result<Status, Failed> {
    let mut asked = Asked::new(folder, &Ask::Status, Some(ANSWER))?;
    asked.status()?.ok_or(Failed::Strange)
}

/// Begins a change of what signs, unless one is under way, and tells each state until it is done.
///
/// # Errors
/// See [`Failed`]; [`Failed::TimeUp`] after `timeout`.
pub fn rotate(folder: &Path, timeout: Option<Duration>, mut tell: impl FnMut(&Status)) -> Result<(), Failed> {
    let ask = if status(folder)?.phase == "steady" { Ask::Rotate } else { Ask::Follow };
    let mut asked = Asked::new(folder, &ask, timeout)?;
    let mut last = None;
    while let Some(status) = asked.status()? {
        tell(&status);
        last = Some(status.phase);
    }
    match last.as_deref() {
        Some("steady") => Ok(()),
        _ => Err(Failed::Left(io::ErrorKind::UnexpectedEof.into())),
    }
}

/// Begins a change of what signs and does not wait for it.
///
/// # Errors
/// See [`Failed`].
pub fn begin(folder: &Path) -> Result<Status, Failed> {
    let mut asked = Asked::new(folder, &Ask::Rotate, Some(ANSWER))?;
    asked.status()?.ok_or(Failed::Strange)
}

/// What a forced step would not wait for.
///
/// # Errors
/// See [`Failed`].
pub fn preview(folder: &Path) -> Result<Preview, Failed> {
    match Asked::new(folder, &Ask::Preview, Some(ANSWER))?.answer()? {
        Some(Answer::Preview(preview)) => Ok(preview),
        Some(Answer::Refused { reason }) => Err(Failed::Refused(reason)),
        _ => Err(Failed::Strange),
    }
}

/// Does the step that was looked at, whatever it waits for.
///
/// # Errors
/// See [`Failed`].
pub fn force(folder: &Path, preview: &Preview) -> Result<Status, Failed> {
    let mut asked = Asked::new(folder, &Ask::Force { revision: preview.revision }, Some(ANSWER))?;
    asked.status()?.ok_or(Failed::Strange)
}

/// How long a single answer may take: a state on a slow disk, some times over.
const ANSWER: Duration = Duration::from_secs(60);

struct Asked {
    read: BufReader<io::Take<UnixStream>>,
    until: Option<Instant>,
}

impl Asked {
    fn new(folder: &Path, ask: &Ask, timeout: Option<Duration>) -> Result<Self, Failed> {
        let path = folder.join(SOCKET);
        let connected = UnixStream::connect(&path);
        let mut stream = connected.map_err(|error| Failed::Nobody { path, error })?;
        let line = serde_json::to_string(ask).map_err(|_| Failed::Strange)?;
        stream.write_all(format!("{line}\n").as_bytes()).map_err(Failed::Left)?;
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Ok(Self { read: BufReader::new(stream.take(LINE_BYTES)), until })
    }

    /// The next line; none at the end.
    fn answer(&mut self) -> Result<Option<Answer>, Failed> {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(Failed::TimeUp);
        }
        let stream = self.read.get_mut();
        stream.set_limit(LINE_BYTES);
        stream.get_ref().set_read_timeout(left).map_err(Failed::Left)?;
        let mut line = String::new();
        match self.read.read_line(&mut line) {
            Ok(0) => Ok(None),
            Ok(_) => serde_json::from_str(&line).map(Some).map_err(|_| Failed::Strange),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Err(Failed::TimeUp)
            }
            Err(error) => Err(Failed::Left(error)),
        }
    }

    fn status(&mut self) -> Result<Option<Status>, Failed> {
        match self.answer()? {
            None => Ok(None),
            Some(Answer::Status(status)) => Ok(Some(status)),
            Some(Answer::Refused { reason }) => Err(Failed::Refused(reason)),
            Some(Answer::Preview(_)) => Err(Failed::Strange),
        }
    }
}
