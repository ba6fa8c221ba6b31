//! Answers `GET /NAME` with a greeting that another component makes.
//!
//! To this component the greeter is an import like any other; a link says which component answers.

wit_bindgen::generate!({
    world: "example:http-greeter-client/client",
    path: [
        "../../interfaces/wit/wasi-io-0.2.6",
        "../../interfaces/wit/wasi-clocks-0.2.6",
        "../../interfaces/wit/wasi-random-0.2.6",
        "../../interfaces/wit/wasi-filesystem-0.2.6",
        "../../interfaces/wit/wasi-sockets-0.2.6",
        "../../interfaces/wit/wasi-cli-0.2.6",
        "../../interfaces/wit/wasi-http-0.2.6",
        "../greeter/wit",
        "wit",
    ],
    generate_all,
});

use example::greet::greeter::greet;
use exports::wasi::http::incoming_handler::Guest;
use wasi::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

struct Client;

impl Guest for Client {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        let name = match path.trim_matches('/') {
            "" => "stranger",
            name => name,
        };
        respond(out, &format!("{}\n", greet(name)));
    }
}

fn respond(out: ResponseOutparam, text: &str) {
    let response = OutgoingResponse::new(Fields::new());
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

export!(Client);
