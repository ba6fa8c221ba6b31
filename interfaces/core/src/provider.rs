//! What a host tells a provider process, and what it answers.

mod bus;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::StringMap;
use crate::id::DEFAULT_NAME;
use crate::identity::ProviderIdentity;
use crate::link::{LinkState, ResolvedLink};
use crate::road::RoadTally;

pub use bus::{BusData, BusTls, CredentialsTaken, NewCredentials};

/// A text that must not appear in logs.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    /// Hides a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Shows the text to the code that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is no text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "\"\"" } else { "<hidden>" })
    }
}

/// The value of a secret. Its `Debug` form does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value")]
pub enum SecretValue {
    /// A text.
    String(String),
    /// Bytes, an array of numbers on the wire.
    Bytes(Vec<u8>),
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::String(_) => "String(<hidden>)",
            Self::Bytes(_) => "Bytes(<hidden>)",
        })
    }
}

/// Secrets by name, in the order they were resolved.
pub type SecretMap = indexmap::IndexMap<String, SecretValue>;

/// How much a process logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Failures and everything worse.
    Error,
    /// Things that look wrong.
    Warn,
    /// The normal amount.
    #[default]
    Info,
    /// For those who look for a fault.
    Debug,
    /// Everything.
    Trace,
    /// What stops the process.
    Critical,
}

impl LogLevel {
    /// The level as a filter directive.
    #[must_use]
    pub fn as_filter(self) -> &'static str {
        match self {
            Self::Error | Self::Critical => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How telemetry is exported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OtelProtocol {
    /// OTLP over HTTP.
    #[default]
    #[serde(alias = "http")]
    Http,
    /// OTLP over gRPC.
    #[serde(alias = "grpc")]
    Grpc,
}

/// Telemetry settings that the host hands to its providers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OtelConfig {
    /// Turns all signals on.
    pub enable_observability: bool,
    /// Turns traces on or off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_traces: Option<bool>,
    /// Turns metrics on or off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_metrics: Option<bool>,
    /// Turns logs on or off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_logs: Option<bool>,
    /// Where all signals go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observability_endpoint: Option<String>,
    /// Where traces go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces_endpoint: Option<String>,
    /// Where metrics go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_endpoint: Option<String>,
    /// Where logs go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs_endpoint: Option<String>,
    /// How they are sent.
    pub protocol: OtelProtocol,
    /// Further certificate files to trust.
    pub additional_ca_paths: Vec<String>,
    /// The level of spans that are recorded.
    pub trace_level: LogLevel,
    /// The sampler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces_sampler: Option<String>,
    /// The argument of the sampler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces_sampler_arg: Option<String>,
    /// The longest queue of spans.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_batch_queue_size: Option<u64>,
    /// How many exports run at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_exports: Option<u64>,
}

/// What a host writes to the standard input of a provider process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HostData {
    /// The host that started the provider.
    pub host_id: String,
    /// The lattice name.
    pub lattice_rpc_prefix: String,
    /// Always `default`.
    pub link_name: String,
    /// The NATS user token, or empty.
    pub lattice_rpc_user_jwt: SecretText,
    /// The NATS user seed, or empty.
    pub lattice_rpc_user_seed: SecretText,
    /// The NATS URL for calls, which may hold a login; empty means the local default.
    pub lattice_rpc_url: SecretText,
    /// The provider id.
    pub provider_key: String,
    /// Always empty.
    pub env_values: StringMap,
    /// A fresh id for every start of the process.
    pub instance_id: String,
    /// Every link with this provider at one of its ends.
    pub link_definitions: Vec<ResolvedLink>,
    /// Always empty.
    pub cluster_issuers: Vec<String>,
    /// The merged named configs.
    #[serde(default)]
    pub config: StringMap,
    /// Secrets in plain text.
    #[serde(default)]
    pub secrets: SecretMap,
    /// The public curve key of the host, for sealed link secrets.
    #[serde(default)]
    pub host_xkey_public_key: String,
    /// Whether the lattice admits no peers of the 1.9 generation, and none of their defaults; an
    /// addition that old providers ignore.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lattice_strict: bool,
    /// The seed of the provider's own curve key.
    #[serde(default)]
    pub provider_xkey_private_key: SecretText,
    /// The public part of that key, at which the process is told about links; an addition, for
    /// providers without the means to work it out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provider_xkey_public_key: String,
    /// The host's timeout for calls.
    #[serde(default)]
    pub default_rpc_timeout_ms: Option<u64>,
    /// Whether logs are JSON lines.
    #[serde(default)]
    pub structured_logging: bool,
    /// How much the provider logs.
    #[serde(default)]
    pub log_level: Option<LogLevel>,
    /// Telemetry settings.
    #[serde(default)]
    pub otel_config: OtelConfig,
    /// The path of the host's socket for the processes of its machine; an addition that old
    /// providers ignore and old hosts leave out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lattice_socket: Option<String>,
    /// Subjects of the host's services that are not for components, with all that is below them, beside
    /// those of every lattice; an addition that old providers ignore and old hosts leave out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lattice_reserved: Vec<String>,
    /// What the process proves who it is with; an addition that old providers ignore and old hosts
    /// leave out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lattice_identity: Option<ProviderIdentity>,
    /// How long a call may take whose caller tells no deadline, in milliseconds, where that is not five
    /// seconds; an addition that old providers ignore and old hosts leave out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lattice_call_timeout_ms: Option<u64>,
    /// Whether the host takes reports of failed calls, and lets the process send them; an addition that
    /// old providers ignore and old hosts leave out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lattice_takes_failures: bool,
    /// Whether the process is told its config where nobody else is, so that what all processes of its id
    /// are told may be another's; an addition that old providers ignore and old hosts leave out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lattice_own_config: bool,
    /// How NATS is reached, as far as the fields above cannot say; an addition that old providers
    /// ignore and old hosts leave out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lattice_bus: Option<BusData>,
}

/// The longest host data line that is read, in bytes.
pub const MAX_HOST_DATA_LINE: usize = 32 * 1024 * 1024;

/// What NATS URL an empty one stands for.
pub const DEFAULT_NATS_URL: &str = "nats://127.0.0.1:4222";

/// Why host data could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostDataError {
    /// Nothing arrived on standard input.
    #[error("no host data on standard input, a provider is started by a host")]
    Empty,
    /// The line is longer than [`MAX_HOST_DATA_LINE`].
    #[error("host data of {bytes} bytes is over the limit of {MAX_HOST_DATA_LINE}")]
    TooLong {
        /// The length of the line.
        bytes: usize,
    },
    /// The line is not base64.
    #[error("host data is not base64")]
    Base64(#[source] base64::DecodeError),
    /// The decoded text is not the expected JSON.
    #[error("host data is not the expected JSON")]
    Json(#[source] serde_json::Error),
}

impl HostData {
    /// Writes the line a provider reads: base64 of the JSON, then `\r\n`.
    ///
    /// # Errors
    ///
    /// Returns [`HostDataError::TooLong`] when no provider would read the line.
    pub fn to_line(&self) -> Result<String, HostDataError> {
        let json = serde_json::to_vec(self).map_err(HostDataError::Json)?;
        let mut line = STANDARD.encode(json);
        if line.len() > MAX_HOST_DATA_LINE {
            return Err(HostDataError::TooLong { bytes: line.len() });
        }
        line.push_str("\r\n");
        Ok(line)
    }

    /// Reads the line a host wrote; blanks around it do not matter.
    ///
    /// # Errors
    ///
    /// Says what the line is not.
    pub fn from_line(line: &[u8]) -> Result<Self, HostDataError> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Err(HostDataError::Empty);
        }
        if line.len() > MAX_HOST_DATA_LINE {
            return Err(HostDataError::TooLong { bytes: line.len() });
        }
        let json = STANDARD.decode(line).map_err(HostDataError::Base64)?;
        serde_json::from_slice(&json).map_err(HostDataError::Json)
    }

    /// The NATS URL to use, which is the local default when none is given.
    #[must_use]
    pub fn rpc_url(&self) -> &str {
        if self.lattice_rpc_url.is_empty() {
            DEFAULT_NATS_URL
        } else {
            self.lattice_rpc_url.expose()
        }
    }

    /// The value that `link_name` always has.
    #[must_use]
    pub fn default_link_name() -> String {
        DEFAULT_NAME.to_owned()
    }
}

/// The answer of a provider to a health request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheckResponse {
    /// Whether the provider can do its work.
    pub healthy: bool,
    /// Why not, or anything else worth knowing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The host that started the process that answers; old peers leave it out. Processes with the
    /// same provider id share a subject, so that another one may have been faster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_id: Option<String>,
    /// How often the process has connected to NATS: another number than before means that it may have
    /// missed what it was told. Old peers leave it out and ignore it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connects: Option<u64>,
    /// The state of every link of the process that answers; old peers leave it out and ignore it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkReport>,
}

impl HealthCheckResponse {
    /// The answer of a provider with nothing to report.
    #[must_use]
    pub fn healthy() -> Self {
        Self {
            healthy: true,
            ..Self::default()
        }
    }

    /// The answer of a provider that cannot do its work.
    #[must_use]
    pub fn unhealthy(message: impl Into<String>) -> Self {
        Self {
            message: Some(message.into()),
            ..Self::default()
        }
    }
}

/// What one provider process made of one of its links.
///
/// A provider publishes a report, as one JSON object, whenever the state of a link changes, on the
/// subject [`link_status`](crate::subject::ProviderSubjects::link_status) of its own id, and repeats
/// those of all its links in each [`HealthCheckResponse`]. The end that reports is the provider
/// whose subject or health answer it is; the host is the one that started the process. No report
/// is sent for a link that is gone.
///
/// ```json
/// {"source_id":"http","target":"hello","name":"default","wit_namespace":"wasi","wit_package":"http",
///  "state":"failed","reason":"could not listen on 0.0.0.0:8000: address in use","host_id":"N…"}
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkReport {
    /// The source of the link.
    pub source_id: String,
    /// The target of the link.
    pub target: String,
    /// The link name.
    pub name: String,
    /// The namespace of the WIT package.
    pub wit_namespace: String,
    /// The WIT package without its version.
    pub wit_package: String,
    /// How far this end has come.
    pub state: LinkState,
    /// Why the link failed; left out in the other states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The host that started the reporting process.
    pub host_id: String,
    /// The roads that the calls of a source have taken through the link. Only in health answers,
    /// and left out where there were no calls.
    #[serde(default, skip_serializing_if = "RoadTally::is_empty")]
    pub roads: RoadTally,
}

/// The message that asks the provider processes of one host to end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShutdownRequest {
    /// The host whose process is meant; others ignore the message.
    pub host_id: String,
}

/// What a provider answers to a shutdown request.
pub const SHUTDOWN_REPLY: &str = "shutting down";

/// The answer of a provider to a link that was sent as a request.
///
/// Old hosts publish links without a reply subject and old providers do not
/// answer, so the absence of an answer means nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkReply {
    /// Whether the provider took the link.
    pub accepted: bool,
    /// Why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[cfg(test)]
mod tests;
