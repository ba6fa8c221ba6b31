//! Why Azure did not do something.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use lattice_backend_http::HttpError;
use lattice_backend_http::xml::{Element, XmlError};

/// What Azure answers when the same may be asked for a little later.
const PASSING: [&str; 3] = ["ServerBusy", "InternalError", "OperationTimedOut"];

/// Why Azure did not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AzureError {
    /// It was not reached, or is silent.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// It says no.
    #[error("Azure at `{at}` refused to {what}: {code}: {message}")]
    Refused {
        /// Where it is.
        at: String,
        /// What was asked for.
        what: &'static str,
        /// The status of the answer.
        status: StatusCode,
        /// Azure's word for what is wrong.
        code: String,
        /// The same in a sentence.
        message: String,
    },
    /// It answers with something else.
    #[error("Azure at `{at}` answered the request to {what} with something else")]
    Answer {
        /// Where it is.
        at: String,
        /// What was asked for.
        what: &'static str,
        /// What is wrong with it.
        source: XmlError,
    },
    /// The request is none.
    #[error("could not make the request to {what}")]
    Request {
        /// What was to be asked for.
        what: &'static str,
        /// Why.
        source: http::Error,
    },
}

impl AzureError {
    /// Reads a refusal. Answers to `HEAD` have no body, so a header has to say it.
    pub(crate) fn refused(
        at: &str,
        what: &'static str,
        status: StatusCode,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Self {
        let text = String::from_utf8_lossy(body);
        let error = Element::read(&text).unwrap_or_default();
        let header = headers.get("x-ms-error-code");
        let header = header.and_then(|code| code.to_str().ok());
        let code = match (error.text_of("Code"), header) {
            ("", None) => status.as_str(),
            ("", Some(code)) => code,
            (code, _) => code,
        };
        // What follows are the number and the time of the request.
        let message = error.text_of("Message").lines().next().unwrap_or("");
        let message = match message {
            "" => status.canonical_reason().unwrap_or("refused"),
            message => message,
        };
        Self::Refused {
            at: at.to_owned(),
            what,
            status,
            code: code.to_owned(),
            message: message.to_owned(),
        }
    }

    /// Azure's word for what is wrong, if it says so.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// The status of a refusal.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether what was asked for is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND)
    }

    /// Whether Azure does not let us do it.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(
            self.status(),
            Some(StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED)
        )
    }

    /// Whether we are let in, but not for this.
    #[must_use]
    pub fn is_known_but_denied(&self) -> bool {
        self.is_denied()
            && self.code().is_some_and(|code| {
                code.starts_with("Authorization") && code != "AuthorizationFailure"
            })
    }

    /// Whether the same request may succeed when it is made again, where that does no harm.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Http(error) => matches!(error, HttpError::Reach { .. }),
            Self::Refused { status, code, .. } => {
                status.is_server_error() && *status != StatusCode::NOT_IMPLEMENTED
                    || *status == StatusCode::TOO_MANY_REQUESTS
                    || PASSING.contains(&code.as_str())
            }
            _ => false,
        }
    }

    /// Whether the request surely never reached Azure.
    #[must_use]
    pub fn never_sent(&self) -> bool {
        matches!(self, Self::Http(error) if error.never_sent())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: StatusCode, header: Option<&'static str>, body: &'static str) -> AzureError {
        let mut headers = HeaderMap::new();
        if let Some(code) = header {
            headers.insert("x-ms-error-code", code.parse().unwrap());
        }
        let body = Bytes::from_static(body.as_bytes());
        AzureError::refused("host", "read", status, &headers, &body)
    }

    #[test]
    fn refusals_are_told_in_the_words_of_azure() {
        let body = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>BlobNotFound</Code>\
            <Message>It is not there.\nRequestId:1\nTime:2</Message></Error>";
        let error = refused(StatusCode::NOT_FOUND, None, body);
        assert_eq!(
            error.to_string(),
            "Azure at `host` refused to read: BlobNotFound: It is not there."
        );
        assert!(error.is_missing());
        let error = refused(StatusCode::NOT_FOUND, Some("ContainerNotFound"), "");
        assert_eq!(error.code(), Some("ContainerNotFound"));
        let error = refused(StatusCode::BAD_GATEWAY, None, "oh no");
        assert_eq!(
            error.to_string(),
            "Azure at `host` refused to read: 502: Bad Gateway"
        );
        assert!(error.may_pass());
    }
}
