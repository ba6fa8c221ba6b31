//! Requests and responses.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};

use super::{ErrorCode, decode_fields, encode_fields};
use crate::{DecodeError, Reader, write};

/// A body or trailers, which may travel apart from the record they belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<T> {
    /// The value follows at its own path.
    Pending,
    /// The whole value is inline.
    Ready(T),
}

/// A request without body and trailers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// Path and query, as in the request line.
    pub path_with_query: Option<String>,
    /// `http`, `https`, or another scheme.
    pub scheme: Option<String>,
    /// Host and port.
    pub authority: Option<String>,
    /// The header fields.
    pub headers: HeaderMap,
}

/// A response without body and trailers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
}

/// Time limits of an outgoing request, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestOptions {
    /// For the connection to be made.
    pub connect_timeout: Option<u64>,
    /// For the first byte of the response.
    pub first_byte_timeout: Option<u64>,
    /// Between two pieces of the response body.
    pub between_bytes_timeout: Option<u64>,
}

impl RequestOptions {
    /// Appends the record.
    pub fn encode(&self, out: &mut BytesMut) {
        for limit in [
            self.connect_timeout,
            self.first_byte_timeout,
            self.between_bytes_timeout,
        ] {
            write::option(out, limit, write::uleb);
        }
    }

    /// Reads the record.
    ///
    /// # Errors
    ///
    /// As [`Reader`].
    pub fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            connect_timeout: r.option(Reader::u64)?,
            first_byte_timeout: r.option(Reader::u64)?,
            between_bytes_timeout: r.option(Reader::u64)?,
        })
    }
}

/// The methods in the order of their cases; `other` follows them.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

/// Appends a body: inline when it is ready and not empty, else as pending.
fn encode_body(out: &mut BytesMut, body: &Part<Bytes>) {
    match body {
        Part::Ready(bytes) if !bytes.is_empty() => write::bytes(out, bytes),
        _ => out.put_u8(0),
    }
}

fn encode_trailer_part(out: &mut BytesMut, trailers: &Part<Option<HeaderMap>>) {
    match trailers {
        Part::Pending => out.put_u8(0),
        Part::Ready(value) => {
            out.put_u8(1);
            encode_trailers(out, value.as_ref());
        }
    }
}

/// Appends the value of the trailers future, as it stands inline or at its own path.
pub fn encode_trailers(out: &mut BytesMut, trailers: Option<&HeaderMap>) {
    write::option(out, trailers, encode_fields);
}

/// Reads the value of the trailers future.
///
/// # Errors
///
/// As [`decode_fields`].
pub fn decode_trailers(r: &mut Reader) -> Result<Option<HeaderMap>, DecodeError> {
    r.option(decode_fields)
}

fn decode_body(r: &mut Reader) -> Result<Part<Bytes>, DecodeError> {
    let body = r.bytes()?;
    Ok(if body.is_empty() {
        Part::Pending
    } else {
        Part::Ready(body)
    })
}

fn decode_trailer_part(r: &mut Reader) -> Result<Part<Option<HeaderMap>>, DecodeError> {
    if r.future_is_ready()? {
        decode_trailers(r).map(Part::Ready)
    } else {
        Ok(Part::Pending)
    }
}

fn encode_method(out: &mut BytesMut, method: &Method) {
    match METHODS.iter().position(|known| known == method) {
        Some(case) => out.put_u8(case as u8),
        None => {
            out.put_u8(METHODS.len() as u8);
            write::string(out, method.as_str());
        }
    }
}

fn decode_method(r: &mut Reader) -> Result<Method, DecodeError> {
    let case = r.case("method", METHODS.len() as u32 + 1)? as usize;
    match METHODS.get(case) {
        Some(method) => Ok(method.clone()),
        None => Method::from_bytes(&r.bytes()?)
            .map_err(|_| DecodeError::InvalidField { field: "method" }),
    }
}

fn encode_scheme(out: &mut BytesMut, scheme: &str) {
    match scheme {
        "http" => out.put_u8(0),
        "https" => out.put_u8(1),
        other => {
            out.put_u8(2);
            write::string(out, other);
        }
    }
}

fn decode_scheme(r: &mut Reader) -> Result<String, DecodeError> {
    match r.case("scheme", 3)? {
        0 => Ok("http".to_owned()),
        1 => Ok("https".to_owned()),
        _ => r.string(),
    }
}

/// Appends a request record. An empty ready body is written as pending: end it at its path.
pub fn encode_request(
    out: &mut BytesMut,
    head: &RequestHead,
    body: &Part<Bytes>,
    trailers: &Part<Option<HeaderMap>>,
) {
    encode_body(out, body);
    encode_trailer_part(out, trailers);
    encode_method(out, &head.method);
    write::option(out, head.path_with_query.as_deref(), write::string);
    write::option(out, head.scheme.as_deref(), encode_scheme);
    write::option(out, head.authority.as_deref(), write::string);
    encode_fields(out, &head.headers);
}

/// A decoded request or response: the head and what of body and trailers was inline.
pub type Decoded<H> = (H, Part<Bytes>, Part<Option<HeaderMap>>);

/// Reads a request record.
///
/// # Errors
///
/// [`DecodeError::InvalidField`] for a method or header that HTTP does not allow; otherwise as
/// [`Reader`].
pub fn decode_request(r: &mut Reader) -> Result<Decoded<RequestHead>, DecodeError> {
    let body = decode_body(r)?;
    let trailers = decode_trailer_part(r)?;
    let head = RequestHead {
        method: decode_method(r)?,
        path_with_query: r.option(Reader::string)?,
        scheme: r.option(decode_scheme)?,
        authority: r.option(Reader::string)?,
        headers: decode_fields(r)?,
    };
    Ok((head, body, trailers))
}

/// Appends the result `ok(response)`. An empty ready body is written as pending.
pub fn encode_response(
    out: &mut BytesMut,
    head: &ResponseHead,
    body: &Part<Bytes>,
    trailers: &Part<Option<HeaderMap>>,
) {
    out.put_u8(0);
    encode_body(out, body);
    encode_trailer_part(out, trailers);
    write::uleb(out, u64::from(head.status.as_u16()));
    encode_fields(out, &head.headers);
}

/// Appends the result `err(error-code)`.
pub fn encode_error(out: &mut BytesMut, error: &ErrorCode) {
    out.put_u8(1);
    error.encode(out);
}

/// Reads `result<response, error-code>`.
///
/// # Errors
///
/// [`DecodeError::InvalidField`] for a status or header that HTTP does not allow; otherwise as
/// [`Reader`].
pub fn decode_response(
    r: &mut Reader,
) -> Result<Result<Decoded<ResponseHead>, ErrorCode>, DecodeError> {
    if r.result_is_err()? {
        return ErrorCode::decode(r).map(Err);
    }
    let body = decode_body(r)?;
    let trailers = decode_trailer_part(r)?;
    let status = StatusCode::from_u16(r.u16()?)
        .map_err(|_| DecodeError::InvalidField { field: "status" })?;
    let headers = decode_fields(r)?;
    Ok(Ok((ResponseHead { status, headers }, body, trailers)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn head() -> RequestHead {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("localhost"));
        headers.append("accept", HeaderValue::from_static("a"));
        headers.append("accept", HeaderValue::from_static("b"));
        RequestHead {
            method: Method::PATCH,
            path_with_query: Some("/x?y=1".into()),
            scheme: Some("http".into()),
            authority: Some("localhost:8000".into()),
            headers,
        }
    }

    #[test]
    fn requests_survive() {
        for body in [Part::Pending, Part::Ready(Bytes::from_static(b"abc"))] {
            for trailers in [
                Part::Pending,
                Part::Ready(None),
                Part::Ready(Some(head().headers)),
            ] {
                let mut out = BytesMut::new();
                encode_request(&mut out, &head(), &body, &trailers);
                let mut r = Reader::new(out.freeze());
                let back = decode_request(&mut r).unwrap();
                r.finish().unwrap();
                assert_eq!(back, (head(), body.clone(), trailers));
            }
        }
    }

    #[test]
    fn unusual_methods_and_schemes_survive() {
        let mut odd = head();
        odd.method = Method::from_bytes(b"PURGE").unwrap();
        odd.scheme = Some("coap".into());
        let mut out = BytesMut::new();
        encode_request(&mut out, &odd, &Part::Pending, &Part::Pending);
        let back = decode_request(&mut Reader::new(out.freeze())).unwrap();
        assert_eq!(back.0, odd);
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(b in any::<Vec<u8>>()) {
            let _ = decode_request(&mut Reader::new(b.clone().into()));
            let _ = decode_response(&mut Reader::new(b.into()));
        }
    }
}
