//! The envelope of control replies and the error codes in it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The envelope of every control reply.
///
/// `code`, `cause` and `hint` are ours: they are only set in failures, and old
/// clients ignore them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CtlResponse<T> {
    /// Whether the request was accepted.
    pub success: bool,
    /// What happened, in words; empty when `response` says it all.
    pub message: String,
    /// The data asked for.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub response: Option<T>,
    /// The kind of failure, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// Why, for failures whose `message` is a fixed text that old clients know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What to do about a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// `Option::default` would ask for `T: Default`.
fn none<T>() -> Option<T> {
    None
}

impl<T> CtlResponse<T> {
    /// A success that carries data.
    pub fn data(response: T) -> Self {
        Self {
            response: Some(response),
            ..Self::message("")
        }
    }

    /// A success with a text and no data; the text may be empty.
    pub fn message(message: impl Into<String>) -> Self {
        Self {
            success: true,
            message: message.into(),
            response: None,
            code: None,
            cause: None,
            hint: None,
        }
    }

    /// A failure.
    pub fn failure(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            success: false,
            code: Some(code),
            ..Self::message(message)
        }
    }

    /// Adds why, next to a message whose text has to stay as it is.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds what the reader can do about the failure.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

macro_rules! error_codes {
    ($($(#[$meta:meta])* $name:ident = $text:literal,)*) => {
        /// The kind of a failure; clients match on it and never on text.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[$meta])* #[serde(rename = $text)] $name,)*
            /// A code this version does not know.
            #[serde(rename = "unknown", other)]
            Unknown,
        }

        impl ErrorCode {
            /// Every code but [`ErrorCode::Unknown`].
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code as it is written on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Unknown => "unknown",
                }
            }
        }
    };
}

error_codes! {
    /// The request is not the expected JSON.
    BadRequest = "bad-request",
    /// A name in the request breaks a rule.
    InvalidId = "invalid-id",
    /// An image reference cannot be understood.
    InvalidReference = "invalid-reference",
    /// The subject names no operation.
    UnsupportedSubject = "unsupported-subject",
    /// What the request names is not there.
    NotFound = "not-found",
    /// The component or provider is not running here.
    NotRunning = "not-running",
    /// The provider is running here already.
    AlreadyRunning = "already-running",
    /// The request contradicts what is stored or running.
    Conflict = "conflict",
    /// A config or secret named in the request does not exist.
    MissingConfig = "missing-config",
    /// A call has no link to its target.
    MissingLink = "missing-link",
    /// The image could not be fetched.
    ImageUnavailable = "image-unavailable",
    /// The image is not what it should be.
    ImageInvalid = "image-invalid",
    /// The image is over the size limit.
    ImageTooLarge = "image-too-large",
    /// The claims in the image do not hold.
    ClaimsInvalid = "claims-invalid",
    /// The image is not signed, and has to be.
    NotSigned = "not-signed",
    /// The image is signed by somebody who is not trusted.
    IssuerNotTrusted = "issuer-not-trusted",
    /// A secrets backend did not give a secret.
    SecretUnavailable = "secret-unavailable",
    /// A policy refused the request.
    PolicyDenied = "policy-denied",
    /// The request may not be made, such as changing a label of the host.
    Forbidden = "forbidden",
    /// A limit of the host is reached.
    Busy = "busy",
    /// The deadline passed.
    Timeout = "timeout",
    /// Nobody answers for the target.
    Unreachable = "unreachable",
    /// The lattice store cannot be reached or written.
    StoreUnavailable = "store-unavailable",
    /// A component trapped or could not be run.
    ComponentFailed = "component-failed",
    /// A provider failed or refused.
    ProviderFailed = "provider-failed",
    /// The host is stopping.
    ShuttingDown = "shutting-down",
    /// A fault of the host itself.
    Internal = "internal",
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error and all that caused it in one line, `what: why: deeper why`.
///
/// Replies carry the whole chain because the peer has no other way to see it.
#[must_use]
pub fn message_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    // Chains are short; the bound keeps a cyclic one from looping for ever.
    for _ in 0..32 {
        let Some(cause) = source else { break };
        let cause_text = cause.to_string();
        // `#[error(transparent)]` repeats the text of its source.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_success_shapes_and_the_failure_shape() {
        let text = |r: &CtlResponse<Vec<u8>>| serde_json::to_string(r).unwrap();
        assert_eq!(
            text(&CtlResponse::data(vec![])),
            r#"{"success":true,"message":"","response":[]}"#
        );
        assert_eq!(
            text(&CtlResponse::message("")),
            r#"{"success":true,"message":""}"#
        );
        assert_eq!(
            text(&CtlResponse::message("successfully put config")),
            r#"{"success":true,"message":"successfully put config"}"#
        );
        let failure = CtlResponse::failure(ErrorCode::NotRunning, "no").with_hint("start it");
        assert_eq!(
            text(&failure),
            r#"{"success":false,"message":"no","code":"not-running","hint":"start it"}"#
        );
    }

    #[test]
    fn codes_have_kebab_names_and_unknown_ones_are_read() {
        for code in ErrorCode::ALL {
            let text = serde_json::to_string(code).unwrap();
            assert_eq!(text, format!("\"{code}\""));
            assert!(
                code.as_str()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'-')
            );
            assert_eq!(serde_json::from_str::<ErrorCode>(&text).unwrap(), *code);
        }
        let strange: ErrorCode = serde_json::from_str("\"of-tomorrow\"").unwrap();
        assert_eq!(strange, ErrorCode::Unknown);
    }

    #[test]
    fn chains_are_joined_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("could not fetch image")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("no such file"));
        assert_eq!(message_chain(&error), "could not fetch image: no such file");
    }
}
