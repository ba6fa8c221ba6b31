//! What the host knows for a component: configuration, secrets, links and where log lines go.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use indexmap::IndexMap;

/// What the host provides to one component besides carrying its calls.
///
/// All methods are called from guest code and must not block.
pub trait HostEnv: Send + Sync + 'static {
    /// The id of the component.
    fn component_id(&self) -> &str;

    /// The configuration as it stands now, in the order of the named configs, later ones over
    /// earlier ones.
    fn config(&self) -> Arc<IndexMap<String, String>>;

    /// Looks up a secret by key.
    ///
    /// # Errors
    ///
    /// [`SecretError`], which the guest sees.
    fn secret(&self, key: &str) -> Result<SecretText, SecretError>;

    /// Whether the component has a link with this name for the interface `lookup`
    /// (`wasi:keyvalue/store`).
    fn has_link(&self, link_name: &str, lookup: &str) -> bool;

    /// A number that is another, and a greater one, once that link has changed in any way; none where
    /// there is no link.
    fn link_version(&self, link_name: &str, lookup: &str) -> Option<u64>;

    /// Whether lines of this level are written that the component's own config does not ask for.
    /// What is not written is not counted against what a component may log.
    fn writes(&self, _level: LogLevel) -> bool {
        true
    }

    /// Takes a line that the guest logged or wrote to its standard error.
    fn log(&self, record: LogRecord<'_>);
}

/// The value of a secret.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretText {
    /// Text.
    String(String),
    /// Bytes.
    Bytes(Bytes),
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The value must never reach a log.
        f.write_str("SecretText(..)")
    }
}

/// Why a secret cannot be had; the cases are those of `wasmcloud:secrets/store`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The component has no secret of this name.
    #[error("the secret is not known to this component")]
    NotFound,
    /// The secrets backend refused.
    #[error("the secrets backend refused: {0}")]
    Upstream(String),
    /// The secrets backend could not be asked.
    #[error("the secrets backend could not be reached: {0}")]
    Io(String),
}

/// How important a log line is, as in `wasi:logging`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Tracing.
    Trace,
    /// Debugging.
    Debug,
    /// Information.
    Info,
    /// Warning.
    Warn,
    /// Error.
    Error,
    /// Critical, above error.
    Critical,
}

/// Where a log line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSource {
    /// The guest called `wasi:logging/logging.log`.
    Logging,
    /// The guest wrote to its standard error.
    Stderr,
    /// The runtime says something about the component.
    Runtime,
}

/// One line of a component's log. The text is the guest's and is not trusted.
#[derive(Debug, Clone, Copy)]
pub struct LogRecord<'a> {
    /// Where it comes from.
    pub source: LogSource,
    /// How important it is.
    pub level: LogLevel,
    /// The guest's category, empty when there is none.
    pub context: &'a str,
    /// The text.
    pub message: &'a str,
    /// Tells lines of one call from those of others; empty for what is said of no call.
    pub call: &'a str,
    /// The trace that the call belongs to, empty when there is none.
    pub trace: &'a str,
    /// Whether the component's own config asks for lines of this level, so that it is written
    /// whatever else is left out.
    pub is_wanted: bool,
}

impl<'a> LogRecord<'a> {
    /// A line that belongs to no call.
    pub(crate) fn plain(source: LogSource, level: LogLevel, message: &'a str) -> Self {
        Self {
            source,
            level,
            context: "",
            message,
            call: "",
            trace: "",
            is_wanted: false,
        }
    }
}
