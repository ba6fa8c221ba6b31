//! One gRPC call as an HTTP exchange.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use opentelemetry_http::HttpError;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// What stands before a message: whether it is compressed, and its length.
const HEAD: usize = 5;

/// Makes the request of a call from one that carries its message.
pub(super) fn frame(request: Request<Bytes>) -> Result<Request<Bytes>, HttpError> {
    let (mut parts, message) = request.into_parts();
    let compressed = parts.headers.remove(CONTENT_ENCODING);
    let mut body = BytesMut::with_capacity(HEAD + message.len());
    body.put_u8(u8::from(compressed.is_some()));
    body.put_u32(u32::try_from(message.len())?);
    body.put(message);
    let headers = &mut parts.headers;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    if let Some(encoding) = compressed {
        headers.insert(GRPC_ENCODING, encoding);
    }
    Ok(Request::from_parts(parts, body.freeze()))
}

/// Makes what OTLP over HTTP would have answered from the answer of a call.
pub(super) fn unframe(response: Response<Bytes>, trailers: Option<&HeaderMap>) -> Response<Bytes> {
    let (mut parts, body) = response.into_parts();
    if !parts.status.is_success() {
        return Response::from_parts(parts, body);
    }
    // An answer without a message has its status among the headers.
    let told = trailers.and_then(|trailers| trailers.get(GRPC_STATUS));
    let told = told.or_else(|| parts.headers.get(GRPC_STATUS));
    let code = told.and_then(|code| code.to_str().ok()?.parse().ok());
    parts.status = status(code);
    let message = body.get(HEAD..).map(|_| body.slice(HEAD..));
    Response::from_parts(parts, message.unwrap_or_default())
}

/// The HTTP status that has the exporter do what the gRPC code asks for: send again what was not
/// taken for now (OTLP specification, "OTLP/gRPC response"), and give up otherwise.
fn status(code: Option<u32>) -> StatusCode {
    match code {
        Some(0) => StatusCode::OK,
        // Cancelled, deadline exceeded, aborted, out of range, unavailable, data loss.
        Some(1 | 4 | 10 | 11 | 14 | 15) => StatusCode::SERVICE_UNAVAILABLE,
        // Resource exhausted.
        Some(8) => StatusCode::TOO_MANY_REQUESTS,
        // Permission denied, unauthenticated.
        Some(7 | 16) => StatusCode::FORBIDDEN,
        Some(12) => StatusCode::NOT_FOUND,
        Some(_) => StatusCode::BAD_REQUEST,
        None => StatusCode::BAD_GATEWAY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_is_framed() {
        let request = Request::post("http://c/x").body(Bytes::from_static(b"abc"));
        let framed = frame(request.unwrap()).unwrap();
        assert_eq!(&framed.body()[..], b"\0\0\0\0\x03abc");
        assert_eq!(framed.headers()["content-type"], "application/grpc");
        assert_eq!(framed.headers()["te"], "trailers");
    }

    #[test]
    fn compressed_message_says_so() {
        let request = Request::post("http://c/x").header("content-encoding", "gzip");
        let framed = frame(request.body(Bytes::from_static(b"abc")).unwrap()).unwrap();
        assert_eq!(framed.body()[0], 1);
        assert_eq!(framed.headers()["grpc-encoding"], "gzip");
        assert!(!framed.headers().contains_key("content-encoding"));
    }

    fn answer(body: &'static [u8], header: Option<&str>, trailer: Option<&str>) -> (u16, Bytes) {
        let mut response = Response::new(Bytes::from_static(body));
        if let Some(code) = header {
            let code = HeaderValue::from_str(code).unwrap();
            response.headers_mut().insert(GRPC_STATUS, code);
        }
        let trailers = trailer.map(|code| {
            HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_str(code).unwrap())])
        });
        let response = unframe(response, trailers.as_ref());
        (response.status().as_u16(), response.into_body())
    }

    #[test]
    fn answer_is_taken_out_of_its_frame() {
        let framed = answer(b"\0\0\0\0\x02hi", None, Some("0"));
        assert_eq!(framed, (200, Bytes::from_static(b"hi")));
        assert_eq!(answer(b"\0\0", None, Some("0")), (200, Bytes::new()));
    }

    #[test]
    fn failure_is_told_by_headers_or_trailers() {
        assert_eq!(answer(b"", Some("14"), None).0, 503);
        assert_eq!(answer(b"", None, Some("3")).0, 400);
        assert_eq!(answer(b"", None, Some("16")).0, 403);
        assert_eq!(answer(b"", None, None).0, 502);
        assert_eq!(answer(b"", Some("x"), None).0, 502);
    }
}
