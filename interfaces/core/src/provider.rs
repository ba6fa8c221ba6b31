//! What a host tells a provider process, and what it answers.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::StringMap;
use crate::id::DEFAULT_NAME;
use crate::link::{LinkState, ResolvedLink};

/// A text that must not appear in logs.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The NATS URL for calls; empty means the local default.
    pub lattice_rpc_url: String,
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
    /// The seed of the provider's own curve key.
    #[serde(default)]
    pub provider_xkey_private_key: SecretText,
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
            &self.lattice_rpc_url
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
            healthy: false,
            message: Some(message.into()),
            links: Vec::new(),
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_line_ends_like_the_recording_and_reads_back() {
        let data = HostData {
            provider_key: "kv".into(),
            ..HostData::default()
        };
        let line = data.to_line().unwrap();
        assert!(line.ends_with("\r\n"));
        assert_eq!(HostData::from_line(line.as_bytes()).unwrap(), data);
        assert_eq!(data.rpc_url(), DEFAULT_NATS_URL);
    }

    #[test]
    fn lines_that_are_not_host_data_are_refused() {
        assert!(matches!(
            HostData::from_line(b" \r\n"),
            Err(HostDataError::Empty)
        ));
        assert!(matches!(
            HostData::from_line(b"***"),
            Err(HostDataError::Base64(_))
        ));
        assert!(matches!(
            HostData::from_line(b"e30="),
            Err(HostDataError::Json(_))
        ));
        let long = vec![b'A'; MAX_HOST_DATA_LINE + 1];
        assert!(matches!(
            HostData::from_line(&long),
            Err(HostDataError::TooLong { .. })
        ));
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let mut data = HostData {
            lattice_rpc_user_seed: SecretText::new("SUAM"),
            provider_xkey_private_key: SecretText::new("SXAM"),
            ..HostData::default()
        };
        data.secrets
            .insert("db".into(), SecretValue::String("hunter2".into()));
        let shown = format!("{data:?}");
        assert!(!shown.contains("SUAM") && !shown.contains("SXAM") && !shown.contains("hunter2"));
    }

    #[test]
    fn secret_values_have_their_wire_form() {
        let text = SecretValue::String("x".into());
        assert_eq!(
            serde_json::to_string(&text).unwrap(),
            r#"{"kind":"String","value":"x"}"#
        );
        let bytes = SecretValue::Bytes(vec![1, 255]);
        assert_eq!(
            serde_json::to_string(&bytes).unwrap(),
            r#"{"kind":"Bytes","value":[1,255]}"#
        );
    }

    #[test]
    fn protocols_are_read_in_lower_case_too() {
        let config: OtelConfig = serde_json::from_str(r#"{"protocol":"grpc"}"#).unwrap();
        assert_eq!(config.protocol, OtelProtocol::Grpc);
    }

    #[test]
    fn a_healthy_answer_without_links_is_that_of_an_old_provider() {
        let text = serde_json::to_string(&HealthCheckResponse::healthy()).unwrap();
        assert_eq!(text, r#"{"healthy":true}"#);
    }

    #[test]
    fn link_reports_have_their_wire_form() {
        let report = LinkReport {
            source_id: "http".into(),
            target: "hello".into(),
            name: "default".into(),
            wit_namespace: "wasi".into(),
            wit_package: "http".into(),
            state: LinkState::Failed,
            reason: Some("in use".into()),
            host_id: "N".into(),
        };
        let answer = HealthCheckResponse {
            links: vec![report],
            ..HealthCheckResponse::healthy()
        };
        let text = serde_json::to_string(&answer).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"healthy":true,"links":[{"source_id":"http","target":"hello","name":"default","#,
                r#""wit_namespace":"wasi","wit_package":"http","state":"failed","reason":"in use","host_id":"N"}]}"#
            )
        );
        assert_eq!(
            serde_json::from_str::<HealthCheckResponse>(&text).unwrap(),
            answer
        );
    }

    #[test]
    fn a_null_message_is_read() {
        let text = r#"{"healthy":false,"message":null}"#;
        assert!(
            !serde_json::from_str::<HealthCheckResponse>(text)
                .unwrap()
                .healthy
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_line_reader_panic(line in any::<Vec<u8>>()) {
            let _ = HostData::from_line(&line);
        }
    }
}
