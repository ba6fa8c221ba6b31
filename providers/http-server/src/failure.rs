//! What a client is told when there is no response from the component.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use lattice_codec::http::ErrorCode;
use lattice_rpc::http::HttpError;
use lattice_rpc::{CallError, RemoteError};

use crate::body::ReplyBody;

/// A status, and a code that names the cause in the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) code: Cow<'static, str>,
    text: &'static str,
    /// After how many seconds the client may try again, where that makes sense.
    retry_after: u64,
}

impl Failure {
    const fn new(status: StatusCode, code: &'static str, text: &'static str) -> Self {
        Self {
            status,
            code: Cow::Borrowed(code),
            text,
            retry_after: 1,
        }
    }

    /// The routing header is missing.
    pub(crate) const NO_HOST: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "no-routing-header",
        "the header that names the host is missing",
    );
    /// The request does not name one host.
    pub(crate) const BAD_HOST: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "bad-host",
        "the header that names the host is missing, is there more than once, or names no host",
    );
    /// The link is for HTTPS, and the connection is not.
    pub(crate) const TLS_ONLY: Self = Self::new(
        StatusCode::MISDIRECTED_REQUEST,
        "tls-only",
        "this is served over HTTPS only",
    );
    /// The address of the request is none.
    pub(crate) const BAD_ADDRESS: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "bad-address",
        "the address of the request cannot be used",
    );
    /// Nothing is linked there.
    pub(crate) const NO_ROUTE: Self = Self::new(
        StatusCode::NOT_FOUND,
        "no-route",
        "no component is linked here",
    );
    /// The link lets only GET and HEAD through.
    pub(crate) const READ_ONLY: Self = Self::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "read-only",
        "only GET and HEAD are allowed here",
    );
    /// Tunnels are not made.
    pub(crate) const NO_TUNNEL: Self = Self::new(
        StatusCode::NOT_IMPLEMENTED,
        "no-tunnel",
        "CONNECT is not supported",
    );

    /// The link lists the methods that it lets through.
    pub(crate) const METHOD: Self = Self::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method",
        "this method is not allowed here",
    );
    /// The client did not send the body of the request as it should.
    pub(crate) const REQUEST_BODY: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "request-body",
        "the body of the request broke off",
    );
    /// The body of the request is larger than the link allows.
    pub(crate) const BODY_SIZE: Self = Self::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body-size",
        "the body of the request is too large",
    );
    /// The body of the request comes too slowly.
    pub(crate) const BODY_TIMEOUT: Self = Self::new(
        StatusCode::REQUEST_TIMEOUT,
        "body-timeout",
        "the body of the request took too long",
    );
    /// A component wants a connection that cannot be had.
    pub(crate) const NO_UPGRADE: Self = Self::new(
        StatusCode::BAD_GATEWAY,
        "no-upgrade",
        "the component wants to take the connection over, which its link does not allow",
    );

    /// The failure of a call. A time limit that the link sets is 408, as it was in 1.x; the
    /// default one, which nobody asked for, is the gateway's.
    pub(crate) fn of(error: &HttpError, link_has_limit: bool) -> Self {
        match error {
            HttpError::Call(error) => Self::of_call(error, link_has_limit),
            HttpError::Handler(code) => Self::of_handler(code),
            HttpError::RequestBody(_) => Self::REQUEST_BODY,
            _ => Self::INTERNAL,
        }
    }

    const INTERNAL: Self = Self::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        RemoteError::FAILED,
        "the component failed",
    );

    fn of_call(error: &CallError, link_has_limit: bool) -> Self {
        match error {
            CallError::NotServed { .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "not-served",
                "the component runs nowhere",
            ),
            CallError::NotLocal { .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "not-local",
                "nobody can serve the component who is reached without NATS, and its link is local-only",
            ),
            CallError::Gone { .. } => Self::new(
                StatusCode::BAD_GATEWAY,
                "gone",
                "the host of the component went away before it had answered",
            ),
            CallError::Deadline { .. } => Self::too_late(link_has_limit),
            CallError::Remote(error) => Self::of_remote(error, link_has_limit),
            CallError::Incomplete { .. } => Self::INTERNAL,
            CallError::Send(_) | CallError::Cancelled => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "not-connected",
                "the lattice cannot be reached",
            ),
            _ => Self::new(
                StatusCode::BAD_GATEWAY,
                "bad-answer",
                "the answer of the component cannot be used",
            ),
        }
    }

    fn too_late(link_has_limit: bool) -> Self {
        let status = if link_has_limit {
            StatusCode::REQUEST_TIMEOUT
        } else {
            StatusCode::GATEWAY_TIMEOUT
        };
        let text = "the component did not answer in time";
        Self::new(status, RemoteError::DEADLINE, text)
    }

    fn of_remote(error: &RemoteError, link_has_limit: bool) -> Self {
        match error.code.as_str() {
            RemoteError::OVERLOADED => Self {
                retry_after: error.retry_after_ms.unwrap_or(0).div_ceil(1000).max(1),
                ..Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    RemoteError::OVERLOADED,
                    "the component has no room for the request",
                )
            },
            RemoteError::STOPPING => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                RemoteError::STOPPING,
                "the component is being stopped",
            ),
            RemoteError::INTERRUPTED => Self::new(
                StatusCode::BAD_GATEWAY,
                RemoteError::INTERRUPTED,
                "the component was stopped before it had answered",
            ),
            RemoteError::DEADLINE => Self::too_late(link_has_limit),
            RemoteError::DENIED => Self::new(
                StatusCode::FORBIDDEN,
                RemoteError::DENIED,
                "the policy of the lattice does not allow this request",
            ),
            code => {
                let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
                Self {
                    code: Cow::Owned(code.chars().filter(plain).take(64).collect()),
                    ..Self::INTERNAL
                }
            }
        }
    }

    fn of_handler(code: &ErrorCode) -> Self {
        let status = match code {
            ErrorCode::HttpRequestDenied => StatusCode::FORBIDDEN,
            ErrorCode::HttpRequestLengthRequired => StatusCode::LENGTH_REQUIRED,
            ErrorCode::HttpRequestBodySize(_) => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::HttpRequestMethodInvalid => StatusCode::METHOD_NOT_ALLOWED,
            ErrorCode::HttpRequestUriInvalid => StatusCode::BAD_REQUEST,
            ErrorCode::HttpRequestUriTooLong => StatusCode::URI_TOO_LONG,
            ErrorCode::HttpRequestHeaderSectionSize(_) | ErrorCode::HttpRequestHeaderSize(_) => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            ErrorCode::HttpResponseTimeout | ErrorCode::ConnectionTimeout => {
                StatusCode::GATEWAY_TIMEOUT
            }
            ErrorCode::LoopDetected => StatusCode::LOOP_DETECTED,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self {
            status,
            code: Cow::Borrowed(code.name()),
            text: "the component answered with an error",
            retry_after: 1,
        }
    }

    /// What is wrong, in words.
    pub(crate) fn text(&self) -> &'static str {
        self.text
    }

    /// The response that says so.
    pub(crate) fn response(&self) -> Response<ReplyBody> {
        let text = format!("{}: {}\n", self.code, self.text);
        let mut response = Response::new(ReplyBody::Own(Some(Bytes::from(text))));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(CONTENT_TYPE, plain);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from(self.retry_after));
        }
        if *self == Self::READ_ONLY {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn status(error: CallError, limit: bool) -> (u16, String) {
        let failure = Failure::of(&HttpError::Call(error), limit);
        (failure.status.as_u16(), failure.code.into_owned())
    }

    fn remote(code: &str) -> CallError {
        CallError::Remote(RemoteError::new(code, "why"))
    }

    #[test]
    fn each_cause_has_its_status_and_code() {
        let late = || CallError::Deadline {
            subject: "s".into(),
            after: Duration::from_secs(5),
            sent: true,
        };
        let nobody = CallError::NotServed {
            subject: "s".into(),
        };
        let told = |status: u16, code: &str| (status, code.to_owned());
        assert_eq!(status(late(), false), told(504, "deadline-exceeded"));
        assert_eq!(status(late(), true), told(408, "deadline-exceeded"));
        assert_eq!(status(nobody, false), told(503, "not-served"));
        assert_eq!(status(remote("overloaded"), false), told(503, "overloaded"));
        assert_eq!(status(remote("stopping"), false), told(503, "stopping"));
        assert_eq!(status(remote("trap\r\n!"), false), told(500, "trap"));
        assert_eq!(
            status(CallError::Protocol("x".into()), false),
            told(502, "bad-answer")
        );
        let denied = Failure::of(&HttpError::Handler(ErrorCode::HttpRequestDenied), false);
        assert_eq!(
            (denied.status.as_u16(), &*denied.code),
            (403, "HTTP-request-denied")
        );
    }

    #[test]
    fn unavailable_says_when_to_try_again() {
        let response = Failure::of(&HttpError::Call(remote("overloaded")), false).response();
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        let wait = |ms| RemoteError::new("overloaded", "why").with_retry_after(ms);
        for (ms, seconds) in [(0, "1"), (999, "1"), (1000, "1"), (2001, "3")] {
            let error = CallError::Remote(wait(Duration::from_millis(ms)));
            let response = Failure::of(&HttpError::Call(error), false).response();
            assert_eq!(response.headers()[RETRY_AFTER], seconds);
        }
        assert_eq!(Failure::READ_ONLY.response().headers()[ALLOW], "GET, HEAD");
    }
}
