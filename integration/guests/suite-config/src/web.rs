//! What the config says, over HTTP: a way to ask that need not lead through NATS.

use crate::bindings::exports::wasi::http::incoming_handler::Guest;
use crate::bindings::wasi::config0_2_0_draft::store;
use crate::bindings::wasi::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

/// Answers `/KEY` with its value, or with 404, or with 500 and the error.
impl Guest for crate::Suite {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let (status, text) = match store::get(path.trim_start_matches('/')) {
            Ok(Some(value)) => (200, value),
            Ok(None) => (404, "there is no such key".to_owned()),
            Err(error) => (500, format!("{error:?}")),
        };
        let response = OutgoingResponse::new(Fields::new());
        response.set_status_code(status).expect("it is a status");
        let body = response.body().expect("a new response has its body");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("a new body has its stream");
        let written = stream.blocking_write_and_flush(text.as_bytes());
        drop(stream);
        // One who asks and leaves is told nothing, and what breaks off is not finished.
        if written.is_ok() {
            let _ = OutgoingBody::finish(body, None);
        }
    }
}
