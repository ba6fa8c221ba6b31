//! What cases have in common.

use std::time::{Duration, Instant};

use crate::bindings::exports::lattice::conformance::suite::{Failure, Setting};
use crate::wire;

/// How long a case waits for an answer that has to come: a broker may have to make topics first.
pub(crate) const PATIENCE_MS: u32 = 20_000;

/// What is known of the backend.
pub(crate) struct Kit {
    settings: Vec<Setting>,
}

/// Fails a case with the line where it fails.
#[macro_export]
macro_rules! ensure {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err($crate::kit::failed(line!(), file!(), &format!($($what)+)));
        }
    };
}

/// What did not hold, and where.
pub(crate) fn failed(line: u32, file: &str, what: &str) -> Failure {
    let shown: String = what.chars().take(600).collect();
    Failure::Failed(format!("{file}:{line}: {shown}"))
}

/// The first line of a body, and the rest.
pub(crate) fn split(body: &[u8]) -> Result<(&str, &[u8]), String> {
    let at = body.iter().position(|byte| *byte == b'\n');
    let at = at.ok_or("the body has no first line")?;
    let line = std::str::from_utf8(&body[..at]);
    let line = line.map_err(|_| "the first line of the body is no text")?;
    Ok((line, &body[at + 1..]))
}

/// An attempt that has to fail: its words, and how long it took.
pub(crate) struct Refusal {
    pub(crate) words: String,
    pub(crate) after: Duration,
}

impl Kit {
    pub(crate) fn new(settings: Vec<Setting>) -> Self {
        Self { settings }
    }

    /// The value of a feature of the backend.
    pub(crate) fn feature(&self, name: &str) -> Option<&str> {
        let mut settings = self.settings.iter();
        let found = settings.find(|setting| setting.name.strip_prefix("feature:") == Some(name));
        found.map(|setting| setting.value.as_str())
    }

    /// Ends a case about messages that are kept until they are handled, where they are not.
    pub(crate) fn keeps(&self) -> Result<(), Failure> {
        match self.feature("delivery") {
            Some("at-least-once") => Ok(()),
            told => Err(Failure::Refused(format!(
                "the backend tells `delivery` as {}",
                told.unwrap_or("nothing")
            ))),
        }
    }

    /// The largest body that the backend tells.
    pub(crate) fn largest(&self) -> Option<usize> {
        self.feature("max-message-bytes")?.parse().ok()
    }

    /// A request that has to be answered.
    pub(crate) fn ask(&self, subject: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        let answer = wire::request(subject, body, PATIENCE_MS);
        let answer = answer.map_err(|error| {
            Failure::Failed(format!("could not get an answer of `{subject}`: {error}"))
        })?;
        Ok(answer.body)
    }

    /// A request that must not be answered.
    pub(crate) fn ask_in_vain(&self, subject: &str, timeout_ms: u32) -> Result<Refusal, Failure> {
        let began = Instant::now();
        match wire::request(subject, b"?", timeout_ms) {
            Err(words) => Ok(Refusal {
                words,
                after: began.elapsed(),
            }),
            Ok(answer) => Err(Failure::Failed(format!(
                "`{subject}` must not be answered, and was with {} bytes on `{}`",
                answer.body.len(),
                answer.subject
            ))),
        }
    }

    /// Has a handler publish `body` to `to`, and returns what the handler there tells.
    pub(crate) fn relay(&self, to: &str, body: &str) -> Result<String, Failure> {
        let answer = self.ask("suite.ask.relay", format!("{to}\n{body}").as_bytes())?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        wire::relayed(answer).map_err(Failure::Failed)
    }
}
