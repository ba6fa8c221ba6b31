//! The guest's standard error, turned into log lines.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::{HostEnv, LogLevel, LogRecord, LogSource};

/// The longest line; longer ones are cut into several.
const MAX_LINE: usize = 4 << 10;

/// How much the stream takes at once.
const WRITE_BUDGET: usize = 64 << 10;

/// Passes lines on as they come up to a limit, then keeps only the last ones and passes them on
/// at the end of the call: a panic message comes last.
#[derive(Clone)]
pub(crate) struct StderrLog(Arc<Mutex<Lines>>);

struct Lines {
    env: Arc<dyn HostEnv>,
    /// How much may still be passed on at once.
    left: usize,
    limit: usize,
    line: Vec<u8>,
    tail: std::collections::VecDeque<String>,
    tail_bytes: usize,
    skipped: usize,
}

impl StderrLog {
    pub(crate) fn new(env: Arc<dyn HostEnv>, limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Lines {
            env,
            left: limit,
            limit,
            line: Vec::new(),
            tail: std::collections::VecDeque::new(),
            tail_bytes: 0,
            skipped: 0,
        })))
    }

    fn put(&self, bytes: &[u8]) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .put(bytes);
    }
}

impl Lines {
    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = MAX_LINE - self.line.len();
            let newline = bytes.iter().take(room).position(|byte| *byte == b'\n');
            let taken = newline.unwrap_or(bytes.len().min(room));
            self.line.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken + usize::from(newline.is_some())..];
            if newline.is_some() || self.line.len() == MAX_LINE {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        self.line.clear();
        if line.is_empty() {
            return;
        }
        if line.len() <= self.left && self.tail.is_empty() {
            self.left -= line.len();
            self.log(LogSource::Stderr, &line);
            return;
        }
        self.tail_bytes += line.len();
        self.tail.push_back(line);
        while self.tail_bytes > self.limit {
            let Some(dropped) = self.tail.pop_front() else {
                break;
            };
            self.tail_bytes -= dropped.len();
            self.skipped += dropped.len();
        }
    }

    fn log(&self, source: LogSource, message: &str) {
        self.env.log(LogRecord {
            source,
            level: LogLevel::Info,
            context: "",
            message,
        });
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.end_line();
        if self.skipped > 0 {
            let note = format!("{} bytes of standard error were left out", self.skipped);
            self.log(LogSource::Runtime, &note);
        }
        for line in std::mem::take(&mut self.tail) {
            self.log(LogSource::Stderr, &line);
        }
    }
}

impl IsTerminal for StderrLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for StderrLog {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for StderrLog {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.put(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BUDGET)
    }
}

#[async_trait::async_trait]
impl Pollable for StderrLog {
    async fn ready(&mut self) {}
}

impl AsyncWrite for StderrLog {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.put(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeEnv;

    fn lines(limit: usize, writes: &[&str]) -> Vec<String> {
        let env = Arc::new(FakeEnv::default());
        let log = StderrLog::new(env.clone(), limit);
        for text in writes {
            log.put(text.as_bytes());
        }
        drop(log);
        env.logged()
    }

    #[test]
    fn lines_are_passed_on_whole() {
        assert_eq!(
            lines(100, &["one\ntw", "o\n\nthree"]),
            ["one", "two", "three"]
        );
    }

    #[test]
    fn beyond_the_limit_the_last_lines_survive() {
        let noise = "0123456789\n".repeat(100);
        let logged = lines(30, &[&noise, "panicked\n"]);
        assert_eq!(logged.last().unwrap(), "panicked");
        assert!(logged.iter().any(|line| line.contains("left out")));
        assert!(logged.len() < 10);
    }

    #[test]
    fn an_endless_line_is_cut() {
        let logged = lines(1 << 20, &[&"x".repeat(3 * MAX_LINE)]);
        assert_eq!(logged.len(), 3);
    }
}
