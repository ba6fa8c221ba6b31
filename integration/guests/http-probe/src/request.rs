//! Answers that depend on the request.

use std::fmt::Write as _;

use crate::bindings::wasi::http::types::{
    Fields, IncomingBody, IncomingRequest, Method, ResponseOutparam, Scheme,
};
use crate::bindings::wasi::io::streams::StreamError;
use crate::reply::{Reply, Sent};

/// Bytes asked for in one read.
const PIECE: u64 = 64 * 1024;

pub(crate) fn answer(kind: &str, request: IncomingRequest, out: ResponseOutparam) -> Sent {
    match kind {
        "request" => Reply::new(200).send(out).text(&describe(&request)),
        "ignore" => Reply::new(200).send(out).text("ignored\n"),
        "length" => {
            let mut length = 0;
            let body = request.consume().expect("a new request has its body");
            read(body, |piece| {
                length += piece.len();
                Ok(())
            })?;
            Reply::new(200).send(out).text(&format!("{length}\n"))
        }
        "socket" => {
            let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
            echo(
                Reply::new(101).header("sec-websocket-accept", accept),
                &request,
                out,
            )
        }
        _ => echo(Reply::new(200), &request, out),
    }
}

fn echo(mut reply: Reply, request: &IncomingRequest, out: ResponseOutparam) -> Sent {
    for value in request.headers().get("content-type") {
        reply = reply.header("content-type", &String::from_utf8_lossy(&value));
    }
    let incoming = request.consume().expect("a new request has its body");
    let mut outgoing = reply.send(out);
    let trailers = read(incoming, |piece| outgoing.write(piece))?;
    outgoing.finish(trailers)
}

/// Hands the body to `take` piece by piece and returns the trailers.
pub(crate) fn read(
    body: IncomingBody,
    mut take: impl FnMut(&[u8]) -> Sent,
) -> Result<Option<Fields>, StreamError> {
    let stream = body.stream().expect("a new body has its stream");
    loop {
        match stream.blocking_read(PIECE) {
            Ok(piece) => take(&piece)?,
            Err(StreamError::Closed) => break,
            Err(error) => return Err(error),
        }
    }
    drop(stream);
    Ok(trailers(body))
}

/// What follows a body that was read to its end.
pub(crate) fn trailers(body: IncomingBody) -> Option<Fields> {
    let trailers = IncomingBody::finish(body);
    trailers.subscribe().block();
    match trailers.get() {
        Some(Ok(Ok(Some(fields)))) => Some(fields.clone()),
        _ => None,
    }
}

/// The head of the request, in lines that a test compares.
fn describe(request: &IncomingRequest) -> String {
    let mut text = String::new();
    let authority = request.authority().unwrap_or_else(|| "-".to_owned());
    let path = request.path_with_query().unwrap_or_else(|| "-".to_owned());
    let lines = [
        format!("method {}", method(request.method())),
        format!("scheme {}", scheme(request.scheme())),
        format!("authority {authority}"),
        format!("path {path}"),
    ];
    let headers = request
        .headers()
        .entries()
        .into_iter()
        .map(|(name, value)| format!("header {name}: {}", String::from_utf8_lossy(&value)));
    for line in lines.into_iter().chain(headers) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    }
    text
}

fn method(method: Method) -> String {
    match method {
        Method::Other(name) => name,
        known => {
            // The case is the method's name in another spelling: `Method::Get`.
            let name = format!("{known:?}");
            name.rsplit("::").next().unwrap_or(&name).to_uppercase()
        }
    }
}

fn scheme(scheme: Option<Scheme>) -> String {
    match scheme {
        None => "-".to_owned(),
        Some(Scheme::Http) => "http".to_owned(),
        Some(Scheme::Https) => "https".to_owned(),
        Some(Scheme::Other(name)) => name,
    }
}
