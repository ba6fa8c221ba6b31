//! What hosts and secrets backends say to one another (protocol page, 7.2).
//!
//! Requests and answers travel sealed for their reader. No type here shows a value in its `Debug`
//! form.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::provider::SecretValue;
use crate::text::clipped_line;

/// The header that names the curve key which a request was sealed with.
pub const REQUEST_XKEY: &str = "WasmCloud-Host-Xkey";

/// The header that names the curve key which an answer was sealed with. An answer without it is
/// not sealed and holds an error.
pub const RESPONSE_XKEY: &str = "Server-Response-Xkey";

/// The annotation that names the application which a component or provider belongs to.
pub const APPLICATION: &str = "wasmcloud.dev/appspec";

/// What a host asks a backend for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRequest {
    /// The key in the backend.
    pub key: String,
    /// The field of a structured secret.
    #[serde(default)]
    pub field: Option<String>,
    /// The version wanted; the latest when there is none.
    #[serde(default)]
    pub version: Option<String>,
    /// For whom it is.
    pub context: SecretContext,
}

/// For whom a secret is asked.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretContext {
    /// The token of the component or provider.
    pub entity_jwt: String,
    /// The token of the host.
    pub host_jwt: String,
    /// What the reference says about the use.
    pub application: SecretApplication,
}

impl fmt::Debug for SecretContext {
    // Tokens are long, and who holds one can ask in its name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretContext")
            .field("application", &self.application)
            .finish_non_exhaustive()
    }
}

/// The application that a secret is asked for, and the policy in the reference.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretApplication {
    /// The name of the application.
    #[serde(default)]
    pub name: Option<String>,
    /// The policy as JSON text, as it stands in the reference.
    #[serde(default)]
    pub policy: String,
}

/// What a backend answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretResponse {
    /// The secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<GetSecretError>,
}

impl From<Secret> for SecretResponse {
    fn from(secret: Secret) -> Self {
        Self {
            secret: Some(secret),
            error: None,
        }
    }
}

impl From<GetSecretError> for SecretResponse {
    fn from(error: GetSecretError) -> Self {
        Self {
            secret: None,
            error: Some(error),
        }
    }
}

/// A secret with its version. One of the two values is there.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Which version it is.
    #[serde(default)]
    pub version: String,
    /// A text.
    #[serde(default)]
    pub string_secret: Option<String>,
    /// Bytes.
    #[serde(default)]
    pub binary_secret: Option<Vec<u8>>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Secret {
    /// A version of a value.
    #[must_use]
    pub fn new(version: impl Into<String>, value: SecretValue) -> Self {
        let (string_secret, binary_secret) = match value {
            SecretValue::String(text) => (Some(text), None),
            SecretValue::Bytes(bytes) => (None, Some(bytes)),
        };
        Self {
            version: version.into(),
            string_secret,
            binary_secret,
        }
    }

    /// The value; a text goes first.
    #[must_use]
    pub fn into_value(self) -> Option<SecretValue> {
        let text = self.string_secret.map(SecretValue::String);
        text.or_else(|| self.binary_secret.map(SecretValue::Bytes))
    }
}

/// Why a backend gives no secret, in the words of the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum GetSecretError {
    /// The token of the component or provider does not hold.
    #[error("the token of the component or provider does not hold: {}", shown(.0))]
    InvalidEntityJWT(String),
    /// The token of the host does not hold.
    #[error("the token of the host does not hold: {}", shown(.0))]
    InvalidHostJWT(String),
    /// There is no such secret.
    #[error("there is no such secret")]
    SecretNotFound,
    /// The curve key in the header is none.
    #[error("the curve key of the request is none")]
    InvalidXKey,
    /// The answer could not be sealed.
    #[error("the answer could not be sealed")]
    EncryptionError,
    /// The request could not be opened.
    #[error("the request could not be opened")]
    DecryptionError,
    /// What is behind the backend failed.
    #[error("what is behind the backend failed: {}", shown(.0))]
    UpstreamError(String),
    /// The secret is not for this component or provider.
    #[error("the secret is not for this component or provider")]
    Unauthorized,
    /// The operation is not known, or asks for what there cannot be, such as a version that is no number.
    #[error("the backend cannot do what is asked")]
    InvalidRequest,
    /// The request is not the expected JSON.
    #[error("the request is not the expected JSON")]
    InvalidPayload,
    /// A header is missing.
    #[error("a header is missing")]
    InvalidHeaders,
    /// The policy in the reference does not allow it.
    #[error("the policy does not allow it: {}", shown(.0))]
    PolicyError(String),
    /// Something else.
    #[error("{}", shown(.0))]
    Other(String),
}

/// How much of a backend's own words is repeated.
const SHOWN_CHARS: usize = 200;

/// The start of a text, in one line.
fn shown(text: &str) -> String {
    clipped_line(text, SHOWN_CHARS)
}

/// A value for the backend to keep, an operation of the reference backend.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutSecretRequest {
    /// The key in the backend.
    pub key: String,
    /// What its owner calls this version; the backend numbers versions itself.
    #[serde(default)]
    pub version: String,
    /// A text.
    #[serde(default)]
    pub string_secret: Option<String>,
    /// Bytes.
    #[serde(default)]
    pub binary_secret: Option<Vec<u8>>,
}

impl fmt::Debug for PutSecretRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutSecretRequest")
            .field("key", &self.key)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl PutSecretRequest {
    /// A value under a key.
    #[must_use]
    pub fn new(key: impl Into<String>, value: SecretValue) -> Self {
        let secret = Secret::new("", value);
        Self {
            key: key.into(),
            version: secret.version,
            string_secret: secret.string_secret,
            binary_secret: secret.binary_secret,
        }
    }

    /// The value; a text goes first.
    #[must_use]
    pub fn into_value(self) -> Option<SecretValue> {
        let text = self.string_secret.map(SecretValue::String);
        text.or_else(|| self.binary_secret.map(SecretValue::Bytes))
    }
}

/// What the reference backend answers to who gives it a value. Clients of 1.x want both fields there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutSecretResponse {
    /// The number of the version that was stored; none is 0.
    #[serde(default)]
    pub revision: u64,
    /// Why nothing was stored.
    #[serde(default)]
    pub error: Option<GetSecretError>,
}

impl From<Result<u64, GetSecretError>> for PutSecretResponse {
    fn from(done: Result<u64, GetSecretError>) -> Self {
        Self {
            revision: *done.as_ref().unwrap_or(&0),
            error: done.err(),
        }
    }
}

/// What the reference backend answers to who changes a mapping.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSecretResponse {
    /// Why nothing was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<GetSecretError>,
}

impl From<GetSecretError> for ChangeSecretResponse {
    fn from(error: GetSecretError) -> Self {
        Self { error: Some(error) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_str, to_string};

    use super::*;

    #[test]
    fn a_request_is_written_as_on_the_page() {
        let text = r#"{"key":"db","field":null,"version":null,"context":{"entity_jwt":"e","host_jwt":"h","application":{"name":null,"policy":"{}"}}}"#;
        let request: SecretRequest = from_str(text).unwrap();
        assert_eq!(to_string(&request).unwrap(), text);
        assert!(!format!("{request:?}").contains("entity_jwt"));
        let full = r#"{"key":"db","field":"f","version":"3","context":{"entity_jwt":"e","host_jwt":"h","application":{"name":"shop","policy":"{}"}}}"#;
        let request: SecretRequest = from_str(full).unwrap();
        assert_eq!(to_string(&request).unwrap(), full);
    }

    #[test]
    fn an_answer_holds_a_secret_or_an_error() {
        let text = r#"{"secret":{"version":"1","string_secret":"hidden","binary_secret":null}}"#;
        let answer: SecretResponse = from_str(text).unwrap();
        assert_eq!(to_string(&answer).unwrap(), text);
        assert!(!format!("{answer:?}").contains("hidden"));
        let bytes: SecretResponse =
            from_str(r#"{"secret":{"version":"1","binary_secret":[0,255]}}"#).unwrap();
        let value = bytes.secret.unwrap().into_value();
        assert_eq!(value, Some(SecretValue::Bytes(vec![0, 255])));
        assert_eq!(Secret::default().into_value(), None);
    }

    #[test]
    fn what_became_of_a_value_is_written_as_1x_reads_it() {
        for (done, text) in [
            (Ok(1), r#"{"revision":1,"error":null}"#),
            (
                Err(GetSecretError::InvalidHeaders),
                r#"{"revision":0,"error":"InvalidHeaders"}"#,
            ),
        ] {
            let response = PutSecretResponse::from(done);
            assert_eq!(to_string(&response).unwrap(), text);
            assert_eq!(from_str::<PutSecretResponse>(text).unwrap(), response);
        }
    }

    #[test]
    fn errors_are_tagged_from_outside() {
        let answers = [
            (
                GetSecretError::SecretNotFound,
                r#"{"error":"SecretNotFound"}"#,
            ),
            (GetSecretError::InvalidXKey, r#"{"error":"InvalidXKey"}"#),
            (
                GetSecretError::EncryptionError,
                r#"{"error":"EncryptionError"}"#,
            ),
            (
                GetSecretError::DecryptionError,
                r#"{"error":"DecryptionError"}"#,
            ),
            (GetSecretError::Unauthorized, r#"{"error":"Unauthorized"}"#),
            (
                GetSecretError::InvalidRequest,
                r#"{"error":"InvalidRequest"}"#,
            ),
            (
                GetSecretError::InvalidPayload,
                r#"{"error":"InvalidPayload"}"#,
            ),
            (
                GetSecretError::InvalidHeaders,
                r#"{"error":"InvalidHeaders"}"#,
            ),
            (
                GetSecretError::InvalidEntityJWT("x".into()),
                r#"{"error":{"InvalidEntityJWT":"x"}}"#,
            ),
            (
                GetSecretError::InvalidHostJWT("x".into()),
                r#"{"error":{"InvalidHostJWT":"x"}}"#,
            ),
            (
                GetSecretError::UpstreamError("x".into()),
                r#"{"error":{"UpstreamError":"x"}}"#,
            ),
            (
                GetSecretError::PolicyError("x".into()),
                r#"{"error":{"PolicyError":"x"}}"#,
            ),
            (
                GetSecretError::Other("x".into()),
                r#"{"error":{"Other":"x"}}"#,
            ),
        ];
        for (error, text) in answers {
            assert_eq!(
                to_string(&SecretResponse::from(error.clone())).unwrap(),
                text
            );
            let answer: SecretResponse = from_str(text).unwrap();
            assert_eq!(answer.error, Some(error));
        }
    }

    #[test]
    fn the_words_of_a_backend_are_cut_and_stay_in_one_line() {
        let error = GetSecretError::Other(format!("a\nb{}", "x".repeat(1000)));
        let text = error.to_string();
        assert!(text.starts_with("a b") && text.chars().count() == SHOWN_CHARS);
    }

    #[test]
    fn a_value_to_keep_is_not_shown() {
        let put = PutSecretRequest::new("db", SecretValue::String("hidden".into()));
        assert!(!format!("{put:?}").contains("hidden"));
        let text = r#"{"key":"db","version":"","string_secret":"hidden","binary_secret":null}"#;
        assert_eq!(to_string(&put).unwrap(), text);
        assert_eq!(put.into_value(), Some(SecretValue::String("hidden".into())));
    }
}
