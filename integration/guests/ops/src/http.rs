//! HTTP.

use crate::bindings::wasi::http::outgoing_handler::handle;
use crate::bindings::wasi::http::types::{Fields, OutgoingRequest, Scheme};
use crate::bindings::wasi::io::streams::StreamError;
use crate::{Amount, Done, told};

/// How much of a body is read at once.
const PIECE: u64 = 64 << 10;

pub(crate) fn get(address: &str, amount: Amount) -> Done {
    amount.each(|_| one(address))
}

fn one(address: &str) -> Done {
    let request = OutgoingRequest::new(Fields::new());
    let refused = |()| "the request is refused".to_owned();
    request.set_scheme(Some(&Scheme::Http)).map_err(refused)?;
    request.set_authority(Some(address)).map_err(refused)?;
    request.set_path_with_query(Some("/")).map_err(refused)?;
    let answer = handle(request, None).map_err(told)?;
    answer.subscribe().block();
    let response = answer.get().and_then(Result::ok).ok_or("no answer")?;
    let response = response.map_err(told)?;
    if response.status() != 200 {
        return Err(format!("the status is {}", response.status()));
    }
    let body = response.consume().map_err(refused)?;
    let stream = body.stream().map_err(refused)?;
    loop {
        match stream.blocking_read(PIECE) {
            Ok(_) => {}
            Err(StreamError::Closed) => return Ok(()),
            Err(error) => return Err(told(error)),
        }
    }
}
