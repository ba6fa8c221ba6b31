//! The guest's standard streams: errors are turned into log lines, nothing can be read, and what
//! else is written goes nowhere.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::imports::{CallName, Log, Taken};
use crate::{LogLevel, LogRecord, LogSource};

/// What lines of standard error count as.
const LEVEL: LogLevel = LogLevel::Info;

/// The longest line; longer ones are cut into several.
const MAX_LINE: usize = 4 << 10;

/// How long after a line came too fast the component may log as many lines at once as ever. Until then
/// lines are kept, so that those of a call that ends with a panic find some of that left.
const PAUSE: Duration = Duration::from_secs(1);

/// How much the stream takes at once.
const WRITE_BUDGET: usize = 64 << 10;

/// The standard streams of one instance. Guests keep handles of them for as long as they live,
/// so they stay the same from call to call, and only what each call may write starts anew.
pub(crate) struct Stdio {
    stderr: StderrLog,
    nowhere: Nowhere,
}

impl Stdio {
    /// Streams whose lines go to `log`, up to `limit` bytes for each call as they come and as many at
    /// its end.
    pub(crate) fn new(log: Arc<Log>, limit: usize) -> Self {
        Self {
            stderr: StderrLog::new(log, limit),
            nowhere: Nowhere::default(),
        }
    }

    /// Gives the streams to a WASI context.
    pub(crate) fn connect(&self, wasi: &mut WasiCtxBuilder) {
        wasi.stdin(self.nowhere.clone())
            .stdout(self.nowhere.clone())
            .stderr(self.stderr.clone());
    }

    /// From now on, lines are those of this call.
    pub(crate) fn begin_call(&self, of: CallName) {
        self.stderr.lines().of = of;
    }

    /// Passes on what is left of a call, and lets the next one write as much again.
    pub(crate) fn end_call(&self) {
        self.stderr.lines().end_call();
    }

    /// How many handles the guest has of these streams, once the WASI context is gone.
    pub(crate) fn handles(&self) -> usize {
        Arc::strong_count(&self.stderr.0) + Arc::strong_count(&self.nowhere.0) - 2
    }
}

/// Passes lines on as they come up to a limit, then keeps only the last ones and passes them on at the end
/// of the call: a panic message comes last. Those that come faster than the component may log wait among
/// them until it may.
#[derive(Clone)]
struct StderrLog(Arc<Mutex<Lines>>);

struct Lines {
    log: Arc<Log>,
    of: CallName,
    /// How much may still be passed on at once.
    left: usize,
    limit: usize,
    line: Vec<u8>,
    tail: VecDeque<String>,
    tail_bytes: usize,
    skipped: usize,
    /// When a line came too fast.
    refused_at: Option<Instant>,
}

impl StderrLog {
    fn new(log: Arc<Log>, limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Lines {
            log,
            of: CallName::default(),
            left: limit,
            limit,
            line: Vec::new(),
            tail: VecDeque::new(),
            tail_bytes: 0,
            skipped: 0,
            refused_at: None,
        })))
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, bytes: &[u8]) {
        self.lines().put(bytes);
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
        if let Some(taken) = self.keep_line() {
            self.pass_on(taken);
            self.trim();
        }
    }

    /// Puts the line behind the last ones. Tells how it is written, if there is one and it is.
    fn keep_line(&mut self) -> Option<Taken> {
        let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        self.line.clear();
        if line.is_empty() {
            return None;
        }
        let taken = self.log.takes(LEVEL)?;
        self.tail_bytes += line.len();
        self.tail.push_back(line);
        Some(taken)
    }

    /// Passes on, in their order, the lines that do not have to wait for the end of the call.
    fn pass_on(&mut self, taken: Taken) {
        let is_pause = self.refused_at.is_some_and(|at| at.elapsed() < PAUSE);
        if is_pause || self.skipped > 0 {
            return;
        }
        while let Some(line) = self.tail.pop_front() {
            if line.len() > self.left {
                return self.tail.push_front(line);
            }
            if !self.log.admits(taken) {
                self.refused_at = Some(Instant::now());
                return self.tail.push_front(line);
            }
            self.left -= line.len();
            self.tail_bytes -= line.len();
            self.write(LogSource::Stderr, &line, taken);
        }
    }

    /// Keeps only the last lines.
    fn trim(&mut self) {
        while self.tail_bytes > self.limit {
            let Some(dropped) = self.tail.pop_front() else {
                break;
            };
            self.tail_bytes -= dropped.len();
            self.skipped += dropped.len();
        }
    }

    /// Passes on what is left, and starts anew with the limit.
    fn end_call(&mut self) {
        // Behind the others: what may be logged yet is for the last ones.
        self.keep_line();
        self.trim();
        if self.skipped > 0 || !self.tail.is_empty() {
            self.end_tail();
        }
        self.left = self.limit;
        self.tail_bytes = 0;
        self.skipped = 0;
        self.refused_at = None;
    }

    /// Passes on of the last lines what the component may still log.
    fn end_tail(&mut self) {
        let tail = std::mem::take(&mut self.tail);
        let Some(taken) = self.log.takes(LEVEL) else {
            return;
        };
        // The very last ones go before the others.
        let admitted = tail.iter().take_while(|_| self.log.admits(taken)).count();
        let mut left_out = tail.len() - admitted;
        if self.skipped > 0 {
            if self.log.admits(taken) {
                let note = format!("{} bytes of standard error were left out", self.skipped);
                self.write(LogSource::Runtime, &note, taken);
            } else {
                left_out += 1;
            }
        }
        if left_out > 0 {
            self.log.leave_out(left_out as u64);
        }
        for line in tail.iter().skip(tail.len() - admitted) {
            self.write(LogSource::Stderr, line, taken);
        }
    }

    fn write(&self, source: LogSource, message: &str, taken: Taken) {
        self.log.write(LogRecord {
            source,
            level: LEVEL,
            context: "",
            message,
            call: &self.of.call(),
            trace: self.of.trace(),
            is_wanted: taken.is_wanted,
        });
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.end_call();
    }
}

/// Takes everything and gives nothing.
#[derive(Clone, Default)]
struct Nowhere(Arc<()>);

impl IsTerminal for Nowhere {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Nowhere {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

impl StdoutStream for Nowhere {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl InputStream for Nowhere {
    fn read(&mut self, _: usize) -> StreamResult<Bytes> {
        Err(StreamError::Closed)
    }
}

#[async_trait::async_trait]
impl OutputStream for Nowhere {
    fn write(&mut self, _: Bytes) -> StreamResult<()> {
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
impl Pollable for Nowhere {
    async fn ready(&mut self) {}
}

impl AsyncRead for Nowhere {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Nowhere {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
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
        lines_with(&[], limit, writes)
    }

    fn lines_with(config: &[(&str, &str)], limit: usize, writes: &[&str]) -> Vec<String> {
        let env = Arc::new(FakeEnv::with(config));
        let log = StderrLog::new(Arc::new(Log::new(env.clone())), limit);
        for text in writes {
            log.put(text.as_bytes());
        }
        drop(log);
        env.logged()
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_lines_are_passed_on_than_the_component_may_log() {
        tokio::time::advance(std::time::Duration::from_secs(10)).await;
        let noise = "a\n".repeat(5000);
        let logged = lines_with(&[("log_rate", "100")], 16 << 10, &[&noise]);
        let written = logged.iter().filter(|line| *line == "a").count();
        assert!((100..=101).contains(&written), "{written}");
        let told = &logged[written];
        assert!(
            told.contains(&format!("left out {} log lines", 5000 - written)),
            "{told}"
        );
    }

    #[test]
    fn lines_of_a_level_that_is_not_wanted_are_not_passed_on() {
        let noise = "a\n".repeat(5000);
        let passed = |level| lines_with(&[("log_level", level)], 100, &["one\n", &noise]);
        assert!(passed("warn").is_empty() && passed("off").is_empty());
        assert_eq!(passed("info")[0], "one");
    }

    #[tokio::test(start_paused = true)]
    async fn of_lines_that_come_too_fast_the_last_ones_go_first() {
        let env = Arc::new(FakeEnv::with(&[("log_rate", "10")]));
        let log = StderrLog::new(Arc::new(Log::new(env.clone())), 1 << 10);
        tokio::time::advance(std::time::Duration::from_secs(10)).await;
        log.put("a\n".repeat(50).as_bytes());
        log.put(b"panicked\n");
        // Room for one line more, and not for two.
        tokio::time::advance(std::time::Duration::from_millis(100)).await;
        drop(log);
        assert_eq!(env.logged().last().unwrap(), "panicked");
    }

    #[tokio::test(start_paused = true)]
    async fn lines_that_came_too_fast_are_passed_on_in_order_when_there_is_room_again() {
        let env = Arc::new(FakeEnv::with(&[("log_rate", "10")]));
        let log = StderrLog::new(Arc::new(Log::new(env.clone())), 1 << 10);
        tokio::time::advance(std::time::Duration::from_secs(10)).await;
        log.put("a\n".repeat(15).as_bytes());
        assert!(env.logged().len() < 15);
        tokio::time::advance(PAUSE).await;
        log.put(b"b\n");
        let mut expected = vec!["a"; 15];
        expected.push("b");
        assert_eq!(env.logged(), expected);
        log.put(b"c\n");
        assert_eq!(env.logged().last().unwrap(), "c");
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
    fn each_call_has_the_whole_limit_and_its_own_last_lines() {
        let env = Arc::new(FakeEnv::default());
        let stdio = Stdio::new(Arc::new(Log::new(env.clone())), 10);
        let kept_handle = stdio.stderr.clone();
        assert_eq!(stdio.handles(), 1);
        for call in ["first", "second"] {
            kept_handle.put(format!("{call}\nmuch more\nunfinished").as_bytes());
            stdio.end_call();
        }
        let logged = env.logged();
        assert_eq!(logged.len(), 6, "{logged:?}");
        assert_eq!(logged[0], "first");
        assert_eq!(logged[2], "unfinished");
        assert_eq!(logged[3], "second");
        drop(kept_handle);
        assert_eq!(stdio.handles(), 0);
    }

    #[test]
    fn an_endless_line_is_cut() {
        let logged = lines(1 << 20, &[&"x".repeat(3 * MAX_LINE)]);
        assert_eq!(logged.len(), 3);
    }
}
