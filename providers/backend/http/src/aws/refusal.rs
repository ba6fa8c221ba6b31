//! What a refusal says about the keys that a request was signed with.

use http::StatusCode;

use crate::xml::Element;

/// How the codes begin of those who do not know the keys, or no longer take them.
const OF_KEYS: [&str; 7] = [
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "UnrecognizedClient",
    "SignatureDoesNotMatch",
];

/// A refusal that may be over with other keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It names the keys as its cause.
    Keys,
    /// It has no cause, as all answers to `HEAD`.
    Silent,
}

impl Refusal {
    /// Whether refusals of keys have this status, among others.
    pub(super) fn may_be(status: StatusCode) -> bool {
        matches!(
            status,
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        )
    }

    /// Reads an answer; `None` is one that other keys would get as well.
    pub(super) fn of(status: StatusCode, body: &[u8]) -> Option<Self> {
        if !Self::may_be(status) {
            return None;
        }
        if body.is_empty() {
            return Some(Self::Silent);
        }
        let code = code(body)?;
        let names_keys = OF_KEYS.iter().any(|word| code.starts_with(word));
        names_keys.then_some(Self::Keys)
    }
}

/// The word for what is wrong, of a refusal in JSON, where it stands behind a `#`, or in XML.
fn code(body: &[u8]) -> Option<String> {
    if let Ok(json) = serde_json::from_slice::<serde_json::Value>(body) {
        let kind = json["__type"].as_str()?;
        return kind.rsplit('#').next().map(str::to_owned);
    }
    let root = Element::read(&String::from_utf8_lossy(body)).ok()?;
    let error = root.find("Error").unwrap_or(&root);
    Some(error.text_of("Code").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> Option<Refusal> {
        Refusal::of(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    #[test]
    fn only_refusals_that_name_the_keys_are_taken_as_such() {
        let s3 = "<?xml version=\"1.0\"?><Error><Code>ExpiredToken</Code></Error>";
        let sts = "<ErrorResponse><Error><Code>InvalidClientTokenId</Code></Error></ErrorResponse>";
        let sqs = r#"{"__type":"com.amazon.coral.service#ExpiredTokenException"}"#;
        let plain = r#"{"__type":"UnrecognizedClientException","message":"m"}"#;
        for body in [s3, sts, sqs, plain] {
            assert_eq!(of(400, body), Some(Refusal::Keys), "{body}");
            assert_eq!(of(404, body), None, "{body}");
        }
        assert_eq!(of(403, ""), Some(Refusal::Silent));
        assert_eq!(of(404, ""), None);
        let denied = "<Error><Code>AccessDenied</Code><Message>ExpiredToken</Message></Error>";
        for body in [denied, "{}", "[]", "oh no", "<a/>"] {
            assert_eq!(of(403, body), None, "{body}");
        }
    }
}
