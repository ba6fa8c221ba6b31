//! Keeps the bodies of HTTP requests in a blob store and gives them back: `PUT`, `GET` and `DELETE` of `/NAME`, and
//! `GET /` for a list.
//!
//! Bodies stream both ways; no more of them than one piece is ever in memory.

wit_bindgen::generate!({
    world: "example:http-blobs/blobs",
    path: [
        "../../interfaces/wit/wasi-io-0.2.6",
        "../../interfaces/wit/wasi-clocks-0.2.6",
        "../../interfaces/wit/wasi-random-0.2.6",
        "../../interfaces/wit/wasi-filesystem-0.2.6",
        "../../interfaces/wit/wasi-sockets-0.2.6",
        "../../interfaces/wit/wasi-cli-0.2.6",
        "../../interfaces/wit/wasi-http-0.2.6",
        "../../interfaces/wit/wasi-blobstore-0.2.0-draft",
        "wit",
    ],
    generate_all,
});

use exports::wasi::http::incoming_handler::Guest;
use wasi::blobstore::blobstore;
use wasi::blobstore::container::Container;
use wasi::blobstore::types::{IncomingValue, OutgoingValue};
use wasi::http::types::{
    Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasi::io::streams::{InputStream, OutputStream, StreamError};

/// The container that all objects are in.
const CONTAINER: &str = "uploads";
/// How much is moved at a time, at most.
const PIECE: u64 = 64 * 1024;

struct Blobs;

impl Guest for Blobs {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        let name = path.trim_start_matches('/').to_owned();
        let answer = match (request.method(), name.as_str()) {
            (Method::Get, "") => list(),
            (Method::Get, name) => return get(name, out),
            (Method::Put, name) if !name.is_empty() => put(name, &request),
            (Method::Delete, name) if !name.is_empty() => delete(name),
            _ => Ok((405, "PUT, GET or DELETE of /NAME, or GET of /\n".to_owned())),
        };
        match answer {
            Ok((status, text)) => respond(out, status, &text),
            Err(error) => respond(out, 500, &format!("{error}\n")),
        }
    }
}

type Answer = Result<(u16, String), String>;

fn container() -> Result<Container, String> {
    if blobstore::container_exists(CONTAINER)? {
        return blobstore::get_container(CONTAINER);
    }
    // Somebody may make it at the same moment.
    blobstore::create_container(CONTAINER).or_else(|_| blobstore::get_container(CONTAINER))
}

fn put(name: &str, request: &IncomingRequest) -> Answer {
    let body = request.consume().map_err(|()| "the request has no body")?;
    let stream = body.stream().map_err(|()| "the body has no stream")?;
    let value = OutgoingValue::new_outgoing_value();
    let into = value
        .outgoing_value_write_body()
        .map_err(|()| "the value has no stream")?;
    container()?.write_data(name, &value)?;
    pass(&stream, &into)?;
    drop(into);
    // Only now is the object there.
    OutgoingValue::finish(value)?;
    Ok((201, format!("stored {name}\n")))
}

fn get(name: &str, out: ResponseOutparam) {
    let found = container().and_then(|container| {
        if !container.has_object(name)? {
            return Ok(None);
        }
        let value = container.get_data(name, 0, u64::MAX)?;
        IncomingValue::incoming_value_consume_async(value).map(Some)
    });
    match found {
        Ok(None) => respond(out, 404, &format!("there is no {name}\n")),
        Err(error) => respond(out, 500, &format!("{error}\n")),
        Ok(Some(data)) => send(out, 200, |stream| pass(&data, stream).is_ok()),
    }
}

fn delete(name: &str) -> Answer {
    container()?.delete_object(name)?;
    Ok((200, format!("deleted {name}\n")))
}

fn list() -> Answer {
    let names = container()?.list_objects()?;
    let mut text = String::new();
    loop {
        let (page, end) = names.read_stream_object_names(100)?;
        for name in page {
            text.push_str(&name);
            text.push('\n');
        }
        if end {
            return Ok((200, text));
        }
    }
}

/// Moves all that comes to where it goes.
fn pass(from: &InputStream, to: &OutputStream) -> Result<(), String> {
    loop {
        match to.blocking_splice(from, PIECE) {
            Ok(_) => {}
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => return Err(error.to_debug_string()),
        }
    }
    to.blocking_flush().map_err(|error| error.to_string())
}

fn respond(out: ResponseOutparam, status: u16, text: &str) {
    send(out, status, |stream| {
        let mut pieces = text.as_bytes().chunks(4096);
        pieces.all(|piece| stream.blocking_write_and_flush(piece).is_ok())
    });
}

/// Begins a response and lets `write` go on with it; one that breaks off is not ended properly, so that its reader knows.
fn send(out: ResponseOutparam, status: u16, write: impl FnOnce(&OutputStream) -> bool) {
    let response = OutgoingResponse::new(Fields::new());
    response
        .set_status_code(status)
        .expect("the status is a valid one");
    let body = response.body().expect("a new response has its body");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("a new body has its stream");
    let whole = write(&stream);
    drop(stream);
    if whole {
        // A caller that has gone away is no reason to trap.
        let _ = OutgoingBody::finish(body, None);
    }
}

export!(Blobs);
