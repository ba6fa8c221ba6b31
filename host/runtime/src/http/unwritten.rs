//! Bodies of answers that have none, whatever their heads tell of one.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

/// Whether the answer to such a request is its head alone.
pub(super) fn is_head_only(method: &Method, status: StatusCode) -> bool {
    let without_body = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
    *method == Method::HEAD || without_body.contains(&status)
}

/// A body of which nothing has to be written: its length tells what it would be, so that one
/// without a byte of it is no body that breaks off.
pub(super) fn unwritten(body: HyperOutgoingBody) -> HyperOutgoingBody {
    let unwritten = Unwritten {
        body,
        has_begun: false,
    };
    unwritten.boxed_unsync()
}

struct Unwritten {
    body: HyperOutgoingBody,
    has_begun: bool,
}

impl Body for Unwritten {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(piece)) => {
                self.has_begun |= piece.data_ref().is_none_or(|data| !data.is_empty())
            }
            Some(Err(_)) if !self.has_begun => return Poll::Ready(None),
            _ => {}
        }
        Poll::Ready(frame)
    }
}

#[cfg(test)]
mod tests {
    use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};

    use super::*;

    #[test]
    fn some_answers_are_their_heads_alone() {
        for (method, status, is_alone) in [
            (Method::HEAD, 200, true),
            (Method::GET, 204, true),
            (Method::GET, 304, true),
            (Method::GET, 200, false),
            (Method::POST, 404, false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(is_head_only(&method, status), is_alone, "{method} {status}");
        }
    }

    #[tokio::test]
    async fn a_body_that_is_not_written_at_all_is_whole_and_one_that_breaks_off_is_not() {
        for (written, is_whole) in [("", true), ("half", false)] {
            let (mut body, read) = HostOutgoingBody::new(StreamContext::Response, Some(8), 1, 8);
            let mut stream = body.take_output_stream().unwrap();
            stream.write(written.into()).unwrap();
            drop(stream);
            body.finish(None).unwrap_err();
            assert_eq!(
                unwritten(read).collect().await.is_ok(),
                is_whole,
                "{written}"
            );
        }
    }
}
