//! Calls into the component of a suite.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::{Bytes, BytesMut};
use lattice_codec::{DecodeError, Reader, write};
use lattice_integration::{params, subject};
use lattice_rpc::{CallError, Invocation, Peer};
use tokio::time::Instant;

use crate::ground::{COMPONENT, Ground};

pub(crate) const SUITE: &str = "lattice:conformance/suite@0.1.0";
/// How long one case may take on a busy machine.
const CASE: Duration = Duration::from_secs(300);

/// A case that was run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// What it says, as a statement.
    pub name: String,
    /// Whether it holds.
    pub verdict: Verdict,
}

/// Whether a case holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Passed,
    /// It does not, and why.
    Failed(String),
    /// The backend says by name that it does not have what the case is about.
    Refused(String),
}

/// Names with their values.
pub(crate) type Settings = Vec<(String, String)>;

/// The component of a suite, and what it is told.
#[derive(Debug, Clone)]
pub(crate) struct Suite {
    peer: Peer,
    component: String,
    pub(crate) settings: Settings,
}

impl Suite {
    /// That of a ground.
    pub(crate) fn of(ground: &Ground) -> Self {
        // Ports differ in each run, and names may be anything that a backend allows.
        let own = format!("r{}{}", std::process::id(), ground.lattice.nats.port);
        let mut settings = vec![("run".to_owned(), own)];
        // What is not there is not told.
        let features = ground.features.iter().filter(|(_, value)| value != "none");
        settings.extend(features.map(|(name, value)| (format!("feature:{name}"), value.clone())));
        settings.extend(ground.settings.iter().cloned());
        Self {
            peer: ground.peer.clone(),
            component: COMPONENT.to_owned(),
            settings,
        }
    }

    /// The same of another component, with nothing but these settings.
    pub(crate) fn told(self, component: &str, settings: Settings) -> Self {
        Self {
            component: component.to_owned(),
            settings,
            ..self
        }
    }

    /// The names of all cases.
    pub(crate) async fn cases(&self) -> Result<Vec<String>> {
        let function = format!("{SUITE}.cases");
        let answer = self.call(&function, Bytes::new(), CASE).await;
        let mut read = Reader::new(answer.context("the suite does not list its cases")?);
        let count = read.count(1)?;
        Ok((0..count)
            .map(|_| read.string())
            .collect::<Result<_, _>>()?)
    }

    /// Runs one case; a call that fails is a case that does.
    pub(crate) async fn run(&self, name: &str) -> Verdict {
        let asked = self.ask(name, CASE).await;
        asked.unwrap_or_else(|error| Verdict::Failed(error.to_string()))
    }

    /// The same within a time, with the error of the call apart.
    pub(crate) async fn ask(&self, name: &str, within: Duration) -> Result<Verdict, CallError> {
        let params = params(|out| {
            write::string(out, name);
            write_settings(out, &self.settings);
        });
        let answer = self.call(&format!("{SUITE}.run"), params, within).await?;
        Ok(verdict(answer).unwrap_or_else(|e| Verdict::Failed(e.to_string())))
    }

    /// Calls a function that answers whether something holds.
    pub(crate) async fn judge(&self, function: &str, params: Bytes) -> Verdict {
        match self.call(function, params, CASE).await {
            Ok(answer) => verdict(answer).unwrap_or_else(|e| Verdict::Failed(e.to_string())),
            Err(error) => Verdict::Failed(error.to_string()),
        }
    }

    pub(crate) async fn call(
        &self,
        function: &str,
        params: Bytes,
        within: Duration,
    ) -> Result<Bytes, CallError> {
        let subject = subject(&self.component, function);
        let call = Invocation::new(subject, Instant::now() + within).source("driver");
        self.peer.call(call, params).await
    }
}

/// Writes a list of settings.
pub(crate) fn write_settings(out: &mut BytesMut, settings: &Settings) {
    write::uleb(out, settings.len() as u64);
    for (name, value) in settings {
        write::string(out, name);
        write::string(out, value);
    }
}

/// A `result<_, failure>`.
pub(crate) fn verdict(answer: Bytes) -> Result<Verdict, DecodeError> {
    let mut read = Reader::new(answer);
    if !read.result_is_err()? {
        return Ok(Verdict::Passed);
    }
    let case = read.case("failure", 2)?;
    let why = read.string()?;
    Ok(match case {
        0 => Verdict::Failed(why),
        _ => Verdict::Refused(why),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let read = |bytes: &'static [u8]| verdict(Bytes::from_static(bytes));
        assert_eq!(read(b"\x00"), Ok(Verdict::Passed));
        assert_eq!(read(b"\x01\x00\x01x"), Ok(Verdict::Failed("x".into())));
        assert_eq!(read(b"\x01\x01\x01y"), Ok(Verdict::Refused("y".into())));
        assert!(read(b"\x01\x02\x01y").is_err());
    }
}
