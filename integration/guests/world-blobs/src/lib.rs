//! Fixture with the imports and exports of the 1.x example for blobs: keeps bodies in the container `default`, which it
//! makes itself, and writes a line about each request.

wit_bindgen::generate!({
    world: "test:world-blobs/world-blobs",
    path: [
        "../../../interfaces/wit/wasi-io-0.2.6",
        "../../../interfaces/wit/wasi-clocks-0.2.6",
        "../../../interfaces/wit/wasi-random-0.2.6",
        "../../../interfaces/wit/wasi-filesystem-0.2.6",
        "../../../interfaces/wit/wasi-sockets-0.2.6",
        "../../../interfaces/wit/wasi-cli-0.2.6",
        "../../../interfaces/wit/wasi-http-0.2.6",
        "../../../interfaces/wit/wasi-blobstore-0.2.0-draft",
        "../../../interfaces/wit/wasi-logging-0.1.0-draft",
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
use wasi::io::streams::StreamError;
use wasi::logging::logging::{Level, log};

/// The one that 1.x components ask for.
const CONTAINER: &str = "default";

type Answer = Result<(u16, Vec<u8>), String>;

struct Blobs;

impl Guest for Blobs {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let name = path.trim_start_matches('/');
        log(Level::Info, "world-blobs", &format!("asked for {name}"));
        let answer = match request.method() {
            Method::Get => get(name),
            Method::Put => put(name, &request),
            Method::Delete => delete(name),
            _ => Ok((405, Vec::new())),
        };
        let (status, body) = answer.unwrap_or_else(|error| (500, error.into_bytes()));
        respond(out, status, &body);
    }
}

fn container() -> Result<Container, String> {
    match blobstore::container_exists(CONTAINER)? {
        true => blobstore::get_container(CONTAINER),
        false => blobstore::create_container(CONTAINER),
    }
}

fn get(name: &str) -> Answer {
    let container = container()?;
    if !container.has_object(name)? {
        return Ok((404, Vec::new()));
    }
    let value = container.get_data(name, 0, u64::MAX)?;
    Ok((200, IncomingValue::incoming_value_consume_sync(value)?))
}

fn put(name: &str, request: &IncomingRequest) -> Answer {
    let body = request.consume().map_err(|()| "the request has no body")?;
    let from = body.stream().map_err(|()| "the body has no stream")?;
    let value = OutgoingValue::new_outgoing_value();
    let to = value
        .outgoing_value_write_body()
        .map_err(|()| "the value has no stream")?;
    container()?.write_data(name, &value)?;
    loop {
        match to.blocking_splice(&from, 4096) {
            Ok(_) => {}
            Err(StreamError::Closed) => break,
            Err(error) => return Err(error.to_string()),
        }
    }
    to.blocking_flush().map_err(|error| error.to_string())?;
    drop(to);
    OutgoingValue::finish(value)?;
    Ok((201, Vec::new()))
}

fn delete(name: &str) -> Answer {
    container()?.delete_object(name)?;
    Ok((200, Vec::new()))
}

fn respond(out: ResponseOutparam, status: u16, bytes: &[u8]) {
    let response = OutgoingResponse::new(Fields::new());
    response
        .set_status_code(status)
        .expect("the status is a valid one");
    let body = response.body().expect("a new response has its body");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("a new body has its stream");
    // A caller that has gone away is no reason to trap.
    let sent = bytes
        .chunks(4096)
        .try_for_each(|part| stream.blocking_write_and_flush(part));
    drop(stream);
    if sent.is_ok() {
        let _ = OutgoingBody::finish(body, None);
    }
}

export!(Blobs);
