//! Why SQS did not do something.

use bytes::Bytes;
use http::{Response, StatusCode};
use lattice_backend_http::aws::AwsError;
use lattice_backend_http::xml::Element;
use lattice_provider_sdk::chain;
use lattice_provider_sdk::queue::QueueError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SqsError {
    /// It was not reached, or there are no keys.
    #[error(transparent)]
    Ask(#[from] AwsError),
    /// It says no.
    #[error("SQS at `{at}` refused `{action}`: {code}: {message}")]
    Refused {
        at: String,
        action: &'static str,
        status: StatusCode,
        /// SQS's word for what is wrong.
        code: String,
        message: String,
    },
    /// It answers with something else.
    #[error("SQS at `{at}` answered `{action}` with something else")]
    Answer { at: String, action: &'static str },
    /// The request is none.
    #[error("could not make the request `{action}`")]
    Request {
        action: &'static str,
        source: http::Error,
    },
}

impl SqsError {
    /// Reads a refusal, which is JSON with the name of its kind behind a `#`. Some services that speak
    /// like SQS answer in XML when they do not let us in.
    pub(crate) fn refused(at: &str, action: &'static str, answer: &Response<Bytes>) -> Self {
        let json: serde_json::Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        let xml = Element::read(&String::from_utf8_lossy(answer.body())).unwrap_or_default();
        let xml = xml.find("Error");
        let in_xml = |name| xml.map(|error| error.text_of(name));
        let status = answer.status();
        let kind = json["__type"].as_str().or_else(|| in_xml("Code"));
        let kind = kind.unwrap_or(status.as_str());
        let code = kind.rsplit('#').next().unwrap_or(kind);
        let message = json["message"].as_str().or(json["Message"].as_str());
        let message = message.or_else(|| in_xml("Message"));
        let message = message.or(status.canonical_reason()).unwrap_or("refused");
        Self::Refused {
            at: at.to_owned(),
            action,
            status,
            code: code.to_owned(),
            message: message.to_owned(),
        }
    }

    fn code(&self) -> &str {
        match self {
            Self::Refused { code, .. } => code,
            _ => "",
        }
    }

    pub(crate) fn is_missing(&self) -> bool {
        is_missing(self.code())
    }

    /// Whether SQS has not done it, and may do it a little later.
    pub(crate) fn is_throttled(&self) -> bool {
        let throttled = ["Throttl", "RequestThrottled", "SlowDown"];
        let is_too_many = matches!(self, Self::Refused { status, .. } if *status == StatusCode::TOO_MANY_REQUESTS);
        is_too_many || throttled.iter().any(|word| self.code().contains(word))
    }

    /// Whether the same may succeed, and was perhaps done already.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Ask(error) => error.may_pass(),
            Self::Refused { status, .. } => status.is_server_error() || self.is_throttled(),
            _ => false,
        }
    }

    pub(crate) fn never_sent(&self) -> bool {
        matches!(self, Self::Ask(error) if error.never_sent())
    }
}

fn is_missing(code: &str) -> bool {
    code.contains("QueueDoesNotExist") || code.contains("NonExistentQueue")
}

/// A refusal by its kind and what is said of it.
pub(crate) fn by_code(code: &str, text: String) -> QueueError {
    let denied = [
        "AccessDenied",
        "InvalidClientTokenId",
        "UnrecognizedClient",
        "SignatureDoesNotMatch",
        "InvalidAccessKeyId",
        "ExpiredToken",
        "MissingAuthenticationToken",
        "IncompleteSignature",
    ];
    if is_missing(code) {
        return QueueError::NoSuchQueue;
    }
    if code.contains("ReceiptHandleIsInvalid") || code.contains("MessageNotInflight") {
        return QueueError::ReceiptExpired;
    }
    if denied.iter().any(|word| code.contains(word)) {
        // The component hears no reason, so it is told here.
        tracing::warn!(error = text, "access denied");
        return QueueError::AccessDenied;
    }
    if code.contains("OverLimit") {
        return QueueError::Full(text);
    }
    if code.contains("InvalidMessageContents") || code.contains("InvalidParameterValue") {
        return QueueError::Invalid(text);
    }
    QueueError::Other(text)
}

impl From<SqsError> for QueueError {
    fn from(error: SqsError) -> Self {
        let text = chain(&error);
        match &error {
            SqsError::Ask(_) => Self::Unavailable(text),
            _ if error.may_pass() => Self::Unavailable(text),
            SqsError::Refused { status, code, .. } => match by_code(code, text) {
                Self::Other(text) if *status == StatusCode::FORBIDDEN => {
                    tracing::warn!(error = text, "access denied");
                    Self::AccessDenied
                }
                known => known,
            },
            _ => Self::Other(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &'static str) -> SqsError {
        let answer = Response::builder().status(status);
        let answer = answer.body(Bytes::from_static(body.as_bytes())).unwrap();
        SqsError::refused("host", "SendMessage", &answer)
    }

    #[test]
    fn refusals_are_told_in_the_words_of_sqs() {
        let body = r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"not there"}"#;
        let error = refused(400, body);
        assert!(error.is_missing());
        assert_eq!(
            error.to_string(),
            "SQS at `host` refused `SendMessage`: QueueDoesNotExist: not there"
        );
        assert_eq!(QueueError::from(error), QueueError::NoSuchQueue);
        let error = QueueError::from(refused(403, "<x>"));
        assert_eq!(error, QueueError::AccessDenied);
        assert!(refused(503, "").may_pass());
        let error = refused(400, r#"{"__type":"ThrottlingException"}"#);
        assert!(error.is_throttled());
        assert!(matches!(
            QueueError::from(error),
            QueueError::Unavailable(_)
        ));
    }
}
