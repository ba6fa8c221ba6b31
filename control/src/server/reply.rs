//! Replies as bytes.

use async_nats::HeaderMap;
use bytes::Bytes;
use lattice_core::{CtlResponse, ErrorCode};
use serde::Serialize;

use crate::api::{ControlError, Outcome};

/// A reply that is ready to be sent.
pub(super) struct Encoded(Bytes);

/// Room for the headers of a reply, which count as payload.
const HEADERS: usize = 1024;

/// What of an answer is ours alone, and is left out where the answer would be too large with it.
pub(super) type Extra<T> = fn(&mut T);

/// Encodes a result.
pub(super) fn encode<T: Serialize>(result: Result<Outcome<T>, ControlError>) -> Encoded {
    written(&respond(result))
}

/// Encodes a result in `max` bytes with its headers, if it fits without some of the `extras`: what
/// a 1.9 host tells is told in any case.
pub(super) fn encode_within<T: Serialize>(
    result: Result<Outcome<T>, ControlError>,
    max: usize,
    extras: &[Extra<T>],
) -> Encoded {
    let mut response = respond(result);
    let mut encoded = written(&response);
    for leave_out in extras {
        let size = encoded.0.len();
        let Some(data) = response.response.as_mut().filter(|_| size + HEADERS > max) else {
            break;
        };
        tracing::warn!(
            size,
            max,
            "left something out of a control reply, as NATS would not take it"
        );
        leave_out(data);
        encoded = written(&response);
    }
    encoded
}

fn respond<T>(result: Result<Outcome<T>, ControlError>) -> CtlResponse<T> {
    match result {
        Ok(outcome) => outcome.into_response(),
        Err(error) => {
            tracing::debug!(code = %error.code, %error, "control request refused");
            error.into_response()
        }
    }
}

fn written<T: Serialize>(response: &CtlResponse<T>) -> Encoded {
    match serde_json::to_vec(response) {
        Ok(bytes) => Encoded(bytes.into()),
        Err(error) => {
            tracing::error!(%error, "could not encode a control reply");
            let text = format!("could not encode the reply: {error}");
            failure(ControlError::new(ErrorCode::Internal, text))
        }
    }
}

/// Encodes a failure.
pub(super) fn failure(error: ControlError) -> Encoded {
    let response: CtlResponse<()> = error.into_response();
    // Texts and a code always encode; an empty reply would still end the client's wait.
    Encoded(serde_json::to_vec(&response).unwrap_or_default().into())
}

/// The payload to send: the reply, or an error when NATS would refuse one of this size.
pub(super) fn fit(reply: Encoded, subject: &str, headers: &HeaderMap, max: usize) -> Bytes {
    let Encoded(bytes) = reply;
    let size = bytes.len() + header_size(headers);
    if size <= max {
        return bytes;
    }
    tracing::error!(
        subject,
        size,
        max,
        "control reply is larger than NATS takes"
    );
    let text = format!("the reply has {size} bytes, but the NATS server takes at most {max}");
    let error = ControlError::new(ErrorCode::Internal, text)
        .with_hint("raise `max_payload` in the configuration of the NATS server");
    failure(error).0
}

/// The bytes that headers take on the wire; they count as payload.
fn header_size(headers: &HeaderMap) -> usize {
    if headers.is_empty() {
        return 0;
    }
    let lines: usize = headers
        .iter()
        .flat_map(|(name, values)| {
            let name: &[u8] = name.as_ref();
            values
                .iter()
                .map(move |value| name.len() + value.as_str().len() + 4)
        })
        .sum();
    "NATS/1.0\r\n".len() + lines + "\r\n".len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::NoData;

    fn text(encoded: Encoded) -> String {
        String::from_utf8(encoded.0.to_vec()).unwrap()
    }

    #[test]
    fn replies_have_the_recorded_shapes() {
        assert_eq!(
            text(encode(Ok(Outcome::Data(Vec::<u8>::new())))),
            r#"{"success":true,"message":"","response":[]}"#
        );
        assert_eq!(
            text(encode::<NoData>(Ok(Outcome::message(
                "successfully set link"
            )))),
            r#"{"success":true,"message":"successfully set link"}"#
        );
        assert_eq!(
            text(encode::<NoData>(Ok(Outcome::bare()))),
            r#"{"success":true,"message":""}"#
        );
        let refused = encode::<NoData>(Err(ControlError::new(ErrorCode::NotRunning, "no")));
        assert_eq!(
            text(refused),
            r#"{"success":false,"message":"no","code":"not-running"}"#
        );
    }

    #[test]
    fn what_is_ours_alone_is_left_out_before_the_answer_is() {
        type Pair = (String, String);
        let pair = || Ok(Outcome::Data(("a".repeat(600), "b".repeat(600))));
        let extras: [Extra<Pair>; 2] = [|pair| pair.1.truncate(10), |pair| pair.1.clear()];
        let told = |max| {
            let reply: CtlResponse<Pair> =
                serde_json::from_str(&text(encode_within(pair(), max + HEADERS, &extras))).unwrap();
            let (all, extra) = reply.response.unwrap();
            (all.len(), extra.len())
        };
        assert_eq!(told(2000), (600, 600));
        assert_eq!(told(700), (600, 10));
        assert_eq!(told(650), (600, 0));
        // Whoever sends it sees that it is too large.
        assert_eq!(told(100), (600, 0));
    }

    #[test]
    fn a_reply_that_does_not_fit_becomes_an_error_with_both_sizes() {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", "00-1-2-01");
        let fits = fit(Encoded(vec![b'x'; 60].into()), "s", &headers, 96);
        assert_eq!(fits.len(), 60);
        let refused = fit(Encoded(vec![b'x'; 70].into()), "s", &headers, 96);
        let refused = String::from_utf8(refused.to_vec()).unwrap();
        assert!(refused.contains("the reply has 106 bytes"), "{refused}");
        assert!(refused.contains("at most 96"), "{refused}");
    }
}
