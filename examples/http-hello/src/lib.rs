//! Answers every HTTP request with a greeting: the smallest component that serves HTTP.

wit_bindgen::generate!({
    world: "example:http-hello/hello",
    path: [
        "../../interfaces/wit/wasi-io-0.2.6",
        "../../interfaces/wit/wasi-clocks-0.2.6",
        "../../interfaces/wit/wasi-random-0.2.6",
        "../../interfaces/wit/wasi-filesystem-0.2.6",
        "../../interfaces/wit/wasi-sockets-0.2.6",
        "../../interfaces/wit/wasi-cli-0.2.6",
        "../../interfaces/wit/wasi-http-0.2.6",
        "wit",
    ],
    generate_all,
});

use exports::wasi::http::incoming_handler::Guest;
use wasi::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

struct Hello;

impl Guest for Hello {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("a new response has its body");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("a new body has its stream");
        // A caller that has gone away is no reason to trap.
        let sent = stream.blocking_write_and_flush(b"Hello from a component!\n");
        drop(stream);
        if sent.is_ok() {
            let _ = OutgoingBody::finish(body, None);
        }
    }
}

export!(Hello);
