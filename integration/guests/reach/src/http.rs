//! HTTP.

use crate::bindings::wasi::http::outgoing_handler::handle;
use crate::bindings::wasi::http::types::{Fields, Method, OutgoingRequest, Scheme};
use crate::{Done, told};

pub(crate) fn run(what: &str, names: &[&str]) -> Option<Done> {
    match (what, names) {
        ("http", [method, scheme, authority, path]) => Some(ask(method, scheme, authority, path)),
        _ => None,
    }
}

/// Sends a request without a body; tells the status, and the place that a redirect names.
fn ask(method: &str, scheme: &str, authority: &str, path: &str) -> Done {
    let request = OutgoingRequest::new(Fields::new());
    let refused = |()| "the request is refused".to_owned();
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let method = match method {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "DELETE" => Method::Delete,
        other => Method::Other(other.to_owned()),
    };
    request.set_method(&method).map_err(refused)?;
    request.set_scheme(Some(&scheme)).map_err(refused)?;
    request.set_authority(Some(authority)).map_err(refused)?;
    request.set_path_with_query(Some(path)).map_err(refused)?;
    let answer = handle(request, None).map_err(told)?;
    answer.subscribe().block();
    let response = answer.get().and_then(Result::ok).ok_or("no answer")?;
    let response = response.map_err(told)?;
    let place = response.headers().get("location");
    let place = place
        .first()
        .map(|place| String::from_utf8_lossy(place).into_owned());
    Ok(
        format!("{} {}", response.status(), place.unwrap_or_default())
            .trim()
            .to_owned(),
    )
}
