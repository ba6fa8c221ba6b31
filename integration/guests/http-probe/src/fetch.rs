//! Requests that this guest sends itself.

use crate::bindings::wasi::http::outgoing_handler::handle;
use crate::bindings::wasi::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingRequest, IncomingResponse,
    OutgoingBody, OutgoingRequest, RequestOptions, ResponseOutparam, Scheme, http_error_code,
};
use crate::bindings::wasi::io::poll::{Pollable, poll};
use crate::bindings::wasi::io::streams::{InputStream, OutputStream, StreamError};
use crate::reply::{Reply, Sent};
use crate::request::{read, trailers};

/// How many bytes are written at once.
const PIECE: usize = 4096;

/// Sends the request on to the address in its query.
pub(crate) fn answer(request: IncomingRequest, out: ResponseOutparam) -> Sent {
    match fetch(request) {
        Ok(response) => pass_on(response, out),
        Err(code) => Reply::new(502).send(out).text(&format!("{code:?}\n")),
    }
}

/// The same, with both bodies on their way at once.
pub(crate) fn relay(request: IncomingRequest, out: ResponseOutparam) -> Sent {
    let (answer, outgoing) = match begin(&request) {
        Ok(begun) => begun,
        Err(code) => return Reply::new(502).send(out).text(&format!("{code:?}\n")),
    };
    let mut up = Upload::new(request, outgoing);
    let answered = answer.subscribe();
    while !answered.ready() {
        up.pass_on(&answered);
    }
    match answer.get() {
        Some(Ok(Ok(response))) => down(response, up, out),
        other => Reply::new(502).send(out).text(&format!("{other:?}\n")),
    }
}

/// Passes on what comes down while the request goes up.
fn down(response: IncomingResponse, mut up: Upload, out: ResponseOutparam) -> Sent {
    let mut outgoing = head(&response).send(out);
    let body = response.consume().expect("a new response has its body");
    let stream = body.stream().expect("a new body has its stream");
    let there = stream.subscribe();
    loop {
        up.pass_on(&there);
        if !there.ready() {
            continue;
        }
        match stream.read(PIECE as u64) {
            Ok(piece) => outgoing.write(&piece)?,
            Err(StreamError::Closed) => break,
            Err(error) => return Err(error),
        }
    }
    drop(there);
    drop(stream);
    outgoing.finish(trailers(body))
}

/// The body of a request on its way, until it has ended.
struct Upload(Option<Way>);

/// Dropped in this order: what is a child of what.
struct Way {
    there: Pollable,
    from: InputStream,
    incoming: IncomingBody,
    to: OutputStream,
    outgoing: OutgoingBody,
}

impl Upload {
    fn new(request: IncomingRequest, outgoing: OutgoingBody) -> Self {
        let incoming = request.consume().expect("a new request has its body");
        let from = incoming.stream().expect("a new body has its stream");
        Self(Some(Way {
            there: from.subscribe(),
            from,
            incoming,
            to: outgoing.write().expect("a new body has its stream"),
            outgoing,
        }))
    }

    /// Waits for a piece and passes it on, or for something else.
    fn pass_on(&mut self, other: &Pollable) {
        let Some(way) = &self.0 else {
            return other.block();
        };
        poll(&[&way.there, other]);
        if !way.there.ready() {
            return;
        }
        match way.from.read(PIECE as u64) {
            Ok(piece) if piece.is_empty() => {}
            Ok(piece) => {
                if way.to.blocking_write_and_flush(&piece).is_err() {
                    // The answer says why nobody reads on.
                    self.0 = None;
                }
            }
            Err(StreamError::Closed) => self.end(),
            // What was sent is not all, and dropping it says so.
            Err(_) => self.0 = None,
        }
    }

    fn end(&mut self) {
        let Some(way) = self.0.take() else { return };
        let Way {
            there,
            from,
            incoming,
            to,
            outgoing,
        } = way;
        drop((there, from, to));
        // A server that reads no further has no use for it.
        let _ = OutgoingBody::finish(outgoing, trailers(incoming));
    }
}

fn fetch(request: IncomingRequest) -> Result<IncomingResponse, ErrorCode> {
    let (answer, outgoing) = begin(&request)?;
    send(request, outgoing)?;
    answer.subscribe().block();
    let answer = answer.get().expect("it was waited for");
    answer.expect("it is taken once")
}

/// Sends the head of the request on.
fn begin(request: &IncomingRequest) -> Result<(FutureIncomingResponse, OutgoingBody), ErrorCode> {
    let target = request.path_with_query().unwrap_or_default();
    let address = target
        .split_once('?')
        .map(|(_, address)| address.to_owned());
    let sent = OutgoingRequest::new(own_headers(request));
    let no_address = |()| ErrorCode::HttpRequestUriInvalid;
    sent.set_method(&request.method()).map_err(no_address)?;
    point(&sent, &address.unwrap_or_default()).map_err(no_address)?;
    let outgoing = sent.body().expect("a new request has its body");
    Ok((handle(sent, options(request))?, outgoing))
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

/// What is passed on of the head of a response.
fn head(response: &IncomingResponse) -> Reply {
    let mut reply = Reply::new(response.status());
    for (name, value) in response.headers().entries() {
        if name.starts_with("x-") || name == "trailer" {
            reply = reply.header(&name, &String::from_utf8_lossy(&value));
        }
    }
    reply
}

fn pass_on(response: IncomingResponse, out: ResponseOutparam) -> Sent {
    let reply = head(&response);
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
