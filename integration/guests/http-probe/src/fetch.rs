//! Requests that this guest sends itself.

use crate::bindings::wasi::http::outgoing_handler::handle;
use crate::bindings::wasi::http::types::{
    ErrorCode, Fields, IncomingRequest, IncomingResponse, OutgoingBody, OutgoingRequest,
    RequestOptions, ResponseOutparam, Scheme, http_error_code,
};
use crate::bindings::wasi::io::streams::StreamError;
use crate::reply::{Reply, Sent};
use crate::request::read;

/// How many bytes are written at once.
const PIECE: usize = 4096;

/// Sends the request on to the address in its query.
pub(crate) fn answer(request: IncomingRequest, out: ResponseOutparam) -> Sent {
    match fetch(request) {
        Ok(response) => pass_on(response, out),
        Err(code) => Reply::new(502).send(out).text(&format!("{code:?}\n")),
    }
}

fn fetch(request: IncomingRequest) -> Result<IncomingResponse, ErrorCode> {
    let target = request.path_with_query().unwrap_or_default();
    let address = target
        .split_once('?')
        .map(|(_, address)| address.to_owned());
    let sent = OutgoingRequest::new(own_headers(&request));
    let no_address = |()| ErrorCode::HttpRequestUriInvalid;
    sent.set_method(&request.method()).map_err(no_address)?;
    point(&sent, &address.unwrap_or_default()).map_err(no_address)?;
    let outgoing = sent.body().expect("a new request has its body");
    let answer = handle(sent, options(&request))?;
    send(request, outgoing)?;
    answer.subscribe().block();
    let answer = answer.get().expect("it was waited for");
    answer.expect("it is taken once")
}

fn own_headers(request: &IncomingRequest) -> Fields {
    let entries = request.headers().entries();
    let own = |name: &str| name.starts_with("x-") || name == "trailer" || name == "te";
    let own: Vec<_> = entries.into_iter().filter(|(name, _)| own(name)).collect();
    Fields::from_list(&own).expect("the host takes headers that it has given")
}

fn point(sent: &OutgoingRequest, address: &str) -> Result<(), ()> {
    let (scheme, rest) = address.split_once("://").ok_or(())?;
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let at = rest.find('/').unwrap_or(rest.len());
    sent.set_scheme(Some(&scheme))?;
    sent.set_authority(Some(&rest[..at]))?;
    sent.set_path_with_query(Some(&rest[at..]))
}

/// The time limit that the header `x-timeout-ms` names, for each stage.
fn options(request: &IncomingRequest) -> Option<RequestOptions> {
    let values = request.headers().get("x-timeout-ms");
    let millis: u64 = String::from_utf8_lossy(values.first()?).parse().ok()?;
    let (options, limit) = (RequestOptions::new(), Some(millis * 1_000_000));
    options.set_connect_timeout(limit).ok()?;
    options.set_first_byte_timeout(limit).ok()?;
    options.set_between_bytes_timeout(limit).ok()?;
    Some(options)
}

/// Sends the body of the request on, while it comes.
fn send(request: IncomingRequest, outgoing: OutgoingBody) -> Result<(), ErrorCode> {
    let incoming = request.consume().expect("a new request has its body");
    let stream = outgoing.write().expect("a new body has its stream");
    let passed = read(incoming, |piece| {
        piece
            .chunks(PIECE)
            .try_for_each(|piece| stream.blocking_write_and_flush(piece))
    });
    drop(stream);
    match passed {
        Ok(trailers) => OutgoingBody::finish(outgoing, trailers),
        // The answer says why nobody reads on.
        Err(_) => Ok(()),
    }
}

fn pass_on(response: IncomingResponse, out: ResponseOutparam) -> Sent {
    let mut reply = Reply::new(response.status());
    for (name, value) in response.headers().entries() {
        if name.starts_with("x-") || name == "trailer" {
            reply = reply.header(&name, &String::from_utf8_lossy(&value));
        }
    }
    let incoming = response.consume().expect("a new response has its body");
    let mut outgoing = reply.send(out);
    match read(incoming, |piece| outgoing.write(piece)) {
        Ok(trailers) => outgoing.finish(trailers),
        Err(StreamError::LastOperationFailed(error)) => {
            let code = http_error_code(&error);
            outgoing.text(&format!("!{code:?}"))
        }
        Err(error) => Err(error),
    }
}
