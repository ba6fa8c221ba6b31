//! Counts HTTP requests per path in a key-value store.
//!
//! The component does not know which store that is: a link decides, and can be changed while the
//! component runs.

wit_bindgen::generate!({
    world: "example:http-keyvalue-counter/counter",
    path: [
        "../../interfaces/wit/wasi-io-0.2.6",
        "../../interfaces/wit/wasi-clocks-0.2.6",
        "../../interfaces/wit/wasi-random-0.2.6",
        "../../interfaces/wit/wasi-filesystem-0.2.6",
        "../../interfaces/wit/wasi-sockets-0.2.6",
        "../../interfaces/wit/wasi-cli-0.2.6",
        "../../interfaces/wit/wasi-http-0.2.6",
        "../../interfaces/wit/wasi-keyvalue-0.2.0-draft",
        "wit",
    ],
    generate_all,
});

use exports::wasi::http::incoming_handler::Guest;
use wasi::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasi::keyvalue::{atomics, store};

/// The name that the component asks for; the link's config decides what it stands for.
const BUCKET: &str = "default";

struct Counter;

impl Guest for Counter {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let path = target.split('?').next().unwrap_or("/");
        match count(path) {
            Ok(count) => respond(out, 200, &format!("Counter {path}: {count}\n")),
            Err(error) => respond(out, 500, &format!("could not count {path}: {error:?}\n")),
        }
    }
}

/// Adds one to the counter of `path` in a single step, so that no request is lost.
fn count(path: &str) -> Result<u64, store::Error> {
    let bucket = store::open(BUCKET)?;
    atomics::increment(&bucket, path, 1)
}

fn respond(out: ResponseOutparam, status: u16, text: &str) {
    let response = OutgoingResponse::new(Fields::new());
    response
        .set_status_code(status)
        .expect("the status is a valid one");
    let body = response.body().expect("a new response has its body");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("a new body has its stream");
    // A caller that has gone away is no reason to trap.
    let sent = text
        .as_bytes()
        .chunks(4096)
        .try_for_each(|part| stream.blocking_write_and_flush(part));
    drop(stream);
    if sent.is_ok() {
        let _ = OutgoingBody::finish(body, None);
    }
}

export!(Counter);
