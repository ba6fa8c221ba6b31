//! A line on stderr that shows that something is going on.

use std::io::Write;
use std::time::Duration;

use tokio::task::JoinHandle;

const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const PERIOD: Duration = Duration::from_millis(90);

/// Turns while it lives; dropping it clears the line. Draws nothing unless stderr can be redrawn.
#[derive(Debug)]
pub(crate) struct Spinner {
    task: Option<JoinHandle<()>>,
}

impl Spinner {
    pub(crate) fn start(draw: bool, text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            task: draw.then(|| tokio::spawn(turn(text))),
        }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            clear_line();
        }
    }
}

/// Empties the line a spinner may stand on.
pub(crate) fn clear_line() {
    let mut stderr = std::io::stderr().lock();
    // Nothing to do about a terminal that went away.
    let _ = stderr.write_all(b"\r\x1b[2K").and_then(|()| stderr.flush());
}

async fn turn(text: String) {
    let mut ticks = tokio::time::interval(PERIOD);
    for frame in FRAMES.iter().cycle() {
        ticks.tick().await;
        let mut stderr = std::io::stderr().lock();
        if write!(stderr, "\r\x1b[2K{frame} {text}")
            .and_then(|()| stderr.flush())
            .is_err()
        {
            return;
        }
    }
}
