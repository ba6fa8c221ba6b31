//! What is done to requests and responses on their way.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use lattice_codec::http::{ErrorCode, join_cookies};
use lattice_rpc::TraceContext;

use crate::settings::Limits;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Headers that are between two neighbours only.
const NEIGHBOURS: [HeaderName; 8] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HTTP2_SETTINGS,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Puts a head into the form in which it is sent.
pub(crate) fn prepare(head: &mut Parts, limits: &Limits) -> Result<(), ErrorCode> {
    if head.method == Method::CONNECT {
        return Err(ErrorCode::HttpRequestMethodInvalid);
    }
    head.uri = address(&head.uri)?;
    head.version = Version::HTTP_11;
    let trailers_wanted = head.headers.get(TE).is_some_and(|te| te == "trailers");
    remove_neighbours(&mut head.headers);
    head.headers.remove(TE);
    // The server would go by another name than the one that was judged.
    head.headers.remove(HOST);
    join_cookies(&mut head.headers);
    if trailers_wanted {
        head.headers
            .insert(TE, HeaderValue::from_static("trailers"));
    }
    let size = section_size(&head.headers) + head.uri.path().len();
    if size > limits.header {
        let size = u32::try_from(size).ok();
        return Err(ErrorCode::HttpRequestHeaderSectionSize(size));
    }
    match sent_length(&head.headers)? {
        Some(length) if length > limits.request_body => {
            Err(ErrorCode::HttpRequestBodySize(Some(length)))
        }
        _ => Ok(()),
    }
}

/// Lets the server's trace go on from that of the call, unless the guest has its own.
pub(crate) fn add_trace(headers: &mut HeaderMap, trace: &TraceContext) {
    if headers.contains_key("traceparent") {
        return;
    }
    let mut add = |name: &'static str, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    };
    add("traceparent", &trace.traceparent);
    if let Some(state) = &trace.tracestate {
        add("tracestate", state);
    }
}

/// An address with all its parts, and without a login, which is not for the server.
fn address(uri: &Uri) -> Result<Uri, ErrorCode> {
    let scheme = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS => scheme.clone(),
        Some(_) => return Err(ErrorCode::HttpProtocolError),
        None => Scheme::HTTPS,
    };
    let invalid = ErrorCode::HttpRequestUriInvalid;
    let authority = uri.authority().ok_or(invalid.clone())?;
    if authority.host().is_empty() {
        return Err(invalid);
    }
    let authority = match authority.as_str().rsplit_once('@') {
        Some((_, rest)) => Authority::try_from(rest).map_err(|_| invalid.clone())?,
        None => authority.clone(),
    };
    if authority.as_str().ends_with(':') || (authority.port().is_none() && has_port(&authority)) {
        return Err(invalid);
    }
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority);
    parts.path_and_query = Some(match uri.path_and_query() {
        Some(path) => path.clone(),
        None => PathAndQuery::from_static("/"),
    });
    Uri::from_parts(parts).map_err(|_| invalid)
}

/// Whether something stands where the port is.
fn has_port(authority: &Authority) -> bool {
    authority.as_str().len() > authority.host().len()
}

/// Removes headers that are not for the other side.
pub(crate) fn remove_neighbours(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&NEIGHBOURS) {
        headers.remove(name);
    }
}

/// What headers take up as HTTP/2 counts them.
fn section_size(headers: &HeaderMap) -> usize {
    let each = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 32);
    each.sum()
}

/// How long the body of a request is said to be. What servers may understand differently would let
/// them see other requests than the one that is sent.
fn sent_length(headers: &HeaderMap) -> Result<Option<u64>, ErrorCode> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = values.next() else {
        return Ok(None);
    };
    let is_plain = first.as_bytes().iter().all(u8::is_ascii_digit) && values.next().is_none();
    let length = length(headers).filter(|_| is_plain);
    length.map(Some).ok_or(ErrorCode::HttpProtocolError)
}

/// How long a body is said to be.
pub(crate) fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        requests: 1,
        connections: 1,
        pooled: 1,
        idle: 1,
        header: 8192,
        request_body: 10,
        response_body: 10,
    };

    fn prepared(builder: http::request::Builder) -> Result<Parts, ErrorCode> {
        let (mut head, ()) = builder.body(()).unwrap().into_parts();
        prepare(&mut head, &LIMITS).map(|()| head)
    }

    fn get(uri: &str) -> http::request::Builder {
        http::Request::get(uri)
    }

    #[test]
    fn what_is_between_neighbours_is_not_sent() {
        let head = prepared(
            get("http://a/")
                .header("connection", "x-own, close")
                .header("x-own", "1")
                .header("keep-alive", "5")
                .header("upgrade", "websocket")
                .header("transfer-encoding", "chunked")
                .header("proxy-authorization", "Basic x")
                .header("te", "trailers")
                .header("host", "another.example")
                .header("x-kept", "1"),
        );
        let head = head.unwrap();
        let mut names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["te", "x-kept"]);
    }

    #[test]
    fn a_cookie_goes_out_in_one_field() {
        let split = get("http://a/").header("cookie", "a=1");
        let head = prepared(split.header("cookie", "b=2")).unwrap();
        let cookies: Vec<_> = head.headers.get_all("cookie").iter().collect();
        assert_eq!(cookies, ["a=1; b=2"]);
    }

    #[test]
    fn an_address_is_made_whole_and_has_no_login() {
        let uri = |text: &str| prepared(get(text)).map(|head| head.uri.to_string());
        assert_eq!(uri("http://me:pw@a:81"), Ok("http://a:81/".to_owned()));
        assert_eq!(uri("//a/x"), Err(ErrorCode::HttpRequestUriInvalid));
        assert_eq!(uri("ftp://a/"), Err(ErrorCode::HttpProtocolError));
        assert_eq!(uri("/only/path"), Err(ErrorCode::HttpRequestUriInvalid));
        assert_eq!(
            uri("http://a:99999/"),
            Err(ErrorCode::HttpRequestUriInvalid)
        );
        assert_eq!(uri("http://a:/"), Err(ErrorCode::HttpRequestUriInvalid));
    }

    #[test]
    fn limits_hold_before_anything_is_sent() {
        let tunnel = http::Request::builder().method("CONNECT").uri("http://a/");
        assert_eq!(
            prepared(tunnel).err(),
            Some(ErrorCode::HttpRequestMethodInvalid)
        );
        let long = prepared(get("http://a/").header("content-length", "11"));
        assert_eq!(long.err(), Some(ErrorCode::HttpRequestBodySize(Some(11))));
        let wide = prepared(get("http://a/").header("x", "y".repeat(9000)));
        assert!(matches!(
            wide.err(),
            Some(ErrorCode::HttpRequestHeaderSectionSize(Some(9000..)))
        ));
    }

    #[test]
    fn a_length_can_be_understood_in_one_way_only() {
        let with = |lengths: &[&str]| {
            let request = lengths.iter().fold(get("http://a/"), |request, length| {
                request.header("content-length", *length)
            });
            prepared(request).err()
        };
        for good in [&[] as &[&str], &["0"], &["10"], &["007"]] {
            assert_eq!(with(good), None, "{good:?}");
        }
        for bad in [
            &["5", "6"][..],
            &["5", "5"],
            &["5, 5"],
            &["+5"],
            &["-5"],
            &["0x5"],
            &[""],
            &["99999999999999999999"],
        ] {
            assert_eq!(with(bad), Some(ErrorCode::HttpProtocolError), "{bad:?}");
        }
    }

    #[test]
    fn the_guests_own_trace_is_left_alone() {
        let trace = TraceContext {
            traceparent: "00-1-2-01".to_owned(),
            tracestate: Some("a=b".to_owned()),
        };
        let mut headers = HeaderMap::new();
        add_trace(&mut headers, &trace);
        assert_eq!(
            (&headers["traceparent"], headers.len()),
            (&HeaderValue::from_static("00-1-2-01"), 2)
        );
        headers.insert("traceparent", HeaderValue::from_static("own"));
        add_trace(&mut headers, &trace);
        assert_eq!(headers["traceparent"], "own");
    }
}
