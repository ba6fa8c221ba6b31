//! Why S3 did not do something.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use lattice_backend_http::aws::AwsError;
use lattice_backend_http::xml::{Element, XmlError};
use lattice_provider_sdk::blobstore::{BlobError, ObjectId};

/// What S3 answers to those who ask too much, or when it is not well.
const PASSING: [&str; 5] = [
    "SlowDown",
    "InternalError",
    "RequestTimeout",
    "ServiceUnavailable",
    "OperationAborted",
];

#[derive(Debug, thiserror::Error)]
pub(crate) enum S3Error {
    /// It was not reached, or there are no keys.
    #[error(transparent)]
    Ask(#[from] AwsError),
    /// It says no.
    #[error("S3 at `{at}` refused to {what}: {code}: {message}")]
    Refused {
        /// Where it is.
        at: String,
        /// What was asked for.
        what: &'static str,
        /// The status of the answer.
        status: StatusCode,
        /// S3's word for what is wrong.
        code: String,
        /// The same in a sentence.
        message: String,
    },
    /// It answers with something else.
    #[error("S3 at `{at}` answered the request to {what} with something else")]
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

impl S3Error {
    /// Reads a refusal. Answers to `HEAD` have no body, so the status has to say it.
    pub(crate) fn refused(
        at: &str,
        what: &'static str,
        status: StatusCode,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Self {
        let text = String::from_utf8_lossy(body);
        let error = Element::read(&text).unwrap_or_default();
        let code = match error.text_of("Code") {
            "" => status.as_str().to_owned(),
            code => code.to_owned(),
        };
        let mut message = match error.text_of("Message") {
            "" => status.canonical_reason().unwrap_or("refused").to_owned(),
            message => message.to_owned(),
        };
        let region = headers.get("x-amz-bucket-region");
        if let Some(region) = region.and_then(|region| region.to_str().ok())
            && !status.is_success()
            && (status.is_redirection() || status == StatusCode::BAD_REQUEST)
        {
            message += &format!("; the bucket is in the region `{region}`");
        }
        Self::Refused {
            at: at.to_owned(),
            what,
            status,
            code,
            message,
        }
    }

    /// S3's word for what is wrong, if it says so.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND)
    }

    /// Whether the same request may succeed when it is made again, and does no harm.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Ask(error) => error.may_pass(),
            Self::Refused { status, code, .. } => {
                status.is_server_error() && *status != StatusCode::NOT_IMPLEMENTED
                    || *status == StatusCode::TOO_MANY_REQUESTS
                    || PASSING.contains(&code.as_str())
            }
            _ => false,
        }
    }

    pub(crate) fn never_sent(&self) -> bool {
        matches!(self, Self::Ask(error) if error.never_sent())
    }

    /// Whether the request may have been served all the same, since the answer was not heard.
    pub(crate) fn is_unheard(&self) -> bool {
        matches!(self, Self::Ask(AwsError::Http(_))) && !self.never_sent()
    }

    /// Whether the object is another one by now than the request is about.
    pub(crate) fn is_outdated(&self) -> bool {
        matches!(self, Self::Refused { status, code, .. }
            if *status == StatusCode::PRECONDITION_FAILED || code == "PreconditionFailed")
    }

    /// Whether the key is good, but not for this.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self.code(), Some("AccessDenied" | "AllAccessDisabled"))
    }

    /// As an error of a container, or of an object that is written.
    pub(crate) fn of_container(self, name: &str) -> BlobError {
        match self.code() {
            Some("NoSuchBucket") => BlobError::NoContainer(name.to_owned()),
            _ => self.into(),
        }
    }

    /// As an error of an object, whose container is there unless S3 says otherwise.
    pub(crate) fn of_object(self, id: &ObjectId) -> BlobError {
        match self.code() {
            Some("NoSuchBucket") => BlobError::NoContainer(id.container.clone()),
            _ if self.is_missing() => BlobError::NoObject(id.clone()),
            _ => self.into(),
        }
    }
}

impl From<S3Error> for BlobError {
    fn from(error: S3Error) -> Self {
        match &error {
            S3Error::Refused { status, code, .. } => {
                let is_full =
                    code == "QuotaExceeded" || *status == StatusCode::INSUFFICIENT_STORAGE;
                match *status {
                    StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
                        Self::Denied(error.to_string())
                    }
                    _ if is_full => Self::Full(error.to_string()),
                    _ if error.may_pass() => Self::unavailable(&error),
                    _ => Self::other(&error),
                }
            }
            S3Error::Ask(_) => Self::unavailable(&error),
            _ => Self::other(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: StatusCode, body: &'static str) -> S3Error {
        let body = Bytes::from_static(body.as_bytes());
        S3Error::refused("host", "read", status, &HeaderMap::new(), &body)
    }

    #[test]
    fn refusals_are_told_in_the_words_of_s3() {
        let body = "<Error><Code>NoSuchBucket</Code><Message>not there</Message></Error>";
        let error = refused(StatusCode::NOT_FOUND, body);
        assert_eq!(
            error.to_string(),
            "S3 at `host` refused to read: NoSuchBucket: not there"
        );
        let id = ObjectId {
            container: "c".to_owned(),
            object: "o".to_owned(),
        };
        assert_eq!(error.of_object(&id), BlobError::NoContainer("c".to_owned()));
        let error = refused(StatusCode::NOT_FOUND, "");
        assert_eq!(
            error.to_string(),
            "S3 at `host` refused to read: 404: Not Found"
        );
        assert_eq!(error.of_object(&id), BlobError::NoObject(id));
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        assert!(refused(StatusCode::SERVICE_UNAVAILABLE, "").may_pass());
        let slow = "<Error><Code>RequestTimeout</Code></Error>";
        assert!(refused(StatusCode::BAD_REQUEST, slow).may_pass());
        assert!(!refused(StatusCode::FORBIDDEN, "").may_pass());
        assert!(!refused(StatusCode::NOT_IMPLEMENTED, "").may_pass());
    }
}
