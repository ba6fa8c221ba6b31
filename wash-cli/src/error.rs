//! What a failed command tells its user: a stable code, the message, the causes, a hint and an exit code.

use std::error::Error as StdError;
use std::fmt;

use serde_json::{Map, Value};

/// Exit codes, one meaning each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Something nobody foresaw.
    Unexpected = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A named thing does not exist, or the name fits several.
    NotFound = 3,
    /// A host or a policy said no.
    Refused = 4,
    /// A deadline passed.
    Timeout = 5,
    /// The lattice cannot be reached.
    Unreachable = 6,
    /// Some of the work was done.
    Partial = 7,
    /// Input was read and found invalid.
    Invalid = 8,
    /// Stopped by SIGHUP.
    HungUp = 129,
    /// Stopped by SIGINT.
    Interrupted = 130,
    /// Stopped by SIGTERM.
    Terminated = 143,
}

/// The kinds of failure. The number is printed as `WASHnnnn` and never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Code {
    Unexpected = 1,
    Usage = 2,
    Io = 3,
    NeedsConfirmation = 4,
    ContextNotFound = 10,
    ContextInvalid = 11,
    CredentialsInvalid = 12,
    HostNotFound = 20,
    HostAmbiguous = 21,
    EntityNotFound = 22,
    EntityAmbiguous = 23,
    ConfigNotFound = 24,
    FileNotFound = 25,
    NoHostFits = 26,
    NatsUnreachable = 30,
    NoResponders = 31,
    NatsAuth = 32,
    Refused = 40,
    StartFailed = 41,
    CallFailed = 42,
    Timeout = 50,
    HostsNotReady = 51,
    Partial = 60,
    BadReply = 61,
    InvalidInput = 70,
    BuildFailed = 71,
    NotAnArtifact = 72,
    NatsServerMissing = 80,
    NatsServerFailed = 81,
    PortTaken = 82,
    HostDied = 83,
    NotSupported = 84,
    Signal = 90,
}

impl Code {
    fn exit(self) -> Exit {
        match self {
            Self::Unexpected | Self::Io | Self::BadReply | Self::BuildFailed => Exit::Unexpected,
            Self::NatsServerFailed | Self::PortTaken | Self::HostDied => Exit::Unexpected,
            Self::Usage | Self::NeedsConfirmation | Self::NotSupported => Exit::Usage,
            Self::ContextNotFound | Self::HostNotFound | Self::HostAmbiguous => Exit::NotFound,
            Self::EntityNotFound | Self::EntityAmbiguous | Self::ConfigNotFound => Exit::NotFound,
            Self::FileNotFound | Self::NoHostFits | Self::NatsServerMissing => Exit::NotFound,
            Self::NatsUnreachable | Self::NoResponders | Self::NatsAuth => Exit::Unreachable,
            Self::Refused | Self::StartFailed | Self::CallFailed => Exit::Refused,
            Self::Timeout | Self::HostsNotReady => Exit::Timeout,
            Self::Partial => Exit::Partial,
            Self::ContextInvalid | Self::CredentialsInvalid => Exit::Invalid,
            Self::InvalidInput | Self::NotAnArtifact => Exit::Invalid,
            Self::Signal => Exit::Interrupted,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WASH{:04}", *self as u16)
    }
}

/// A failed command.
#[derive(Debug)]
pub(crate) struct CliError(Box<Parts>);

#[derive(Debug)]
struct Parts {
    code: Code,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
    exit: Exit,
    data: Map<String, Value>,
}

pub(crate) type Result<T, E = CliError> = std::result::Result<T, E>;

impl CliError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            code,
            message: message.into(),
            causes: Vec::new(),
            hint: None,
            exit: code.exit(),
            data: Map::new(),
        }))
    }

    /// A file operation that failed.
    pub(crate) fn io(what: impl Into<String>, source: &std::io::Error) -> Self {
        Self::new(Code::Io, what).caused_by(source)
    }

    /// A file that was named and could not be read: it may not be there.
    pub(crate) fn unread(what: impl Into<String>, source: &std::io::Error) -> Self {
        let code = match source.kind() {
            std::io::ErrorKind::NotFound => Code::FileNotFound,
            _ => Code::Io,
        };
        Self::new(code, what)
            .caused_by(source)
            .hint("check the path, and that you may read the file")
    }

    /// Adds the error and everything below it as causes.
    pub(crate) fn caused_by(mut self, source: &(dyn StdError + 'static)) -> Self {
        let mut next = Some(source);
        while let Some(error) = next {
            self.push_cause(error.to_string());
            next = error.source();
        }
        self
    }

    /// Adds one cause given as text.
    pub(crate) fn cause(mut self, cause: impl Into<String>) -> Self {
        self.push_cause(cause.into());
        self
    }

    /// Libraries often repeat their source in their own text; a chain says each thing once.
    fn push_cause(&mut self, cause: String) {
        let cause = cause.trim().to_owned();
        let last = self.0.causes.last().unwrap_or(&self.0.message);
        if !cause.is_empty() && !last.ends_with(&cause) {
            self.0.causes.push(cause);
        }
    }

    /// Says what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Replaces the exit code that the kind implies.
    pub(crate) fn exit_with(mut self, exit: Exit) -> Self {
        self.0.exit = exit;
        self
    }

    /// Adds what was done all the same to the JSON document.
    pub(crate) fn data(mut self, data: Map<String, Value>) -> Self {
        self.0.data = data;
        self
    }

    pub(crate) fn code(&self) -> Code {
        self.0.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    pub(crate) fn causes(&self) -> &[String] {
        &self.0.causes
    }

    pub(crate) fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    pub(crate) fn exit(&self) -> u8 {
        self.0.exit as u8
    }

    pub(crate) fn extra(&self) -> &Map<String, Value> {
        &self.0.data
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        for cause in &self.0.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl StdError for CliError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_repeats_the_line_above_is_left_out() {
        let error =
            CliError::new(Code::Io, "could not read `a`: no such file").cause("no such file");
        assert!(error.causes().is_empty());
    }

    #[test]
    fn codes_are_printed_with_four_digits() {
        assert_eq!(Code::NoResponders.to_string(), "WASH0031");
        assert_eq!(CliError::new(Code::NoResponders, "x").exit(), 6);
    }
}
