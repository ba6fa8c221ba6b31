//! What has no interface that a component alone could try.

use serde_json::{Value, json};

use super::backend::{Backend, Place};
use crate::ground::Ground;

pub(super) const HTTP_IN: &[Backend] = &[Backend {
    source_config: Some(some_address),
    ..Backend::plain("http-server", "http-server")
}];

/// An address that nobody asks; each case has its own.
fn some_address(_: &Ground) -> Value {
    json!({ "address": "127.0.0.1:0" })
}

pub(super) const HTTP_OUT: &[Backend] = &[Backend {
    place: Place::Outside,
    ..Backend::plain("http-client", "http-client")
}];

pub(super) const CONFIG: &[Backend] = &[Backend::lattice("host", "")];

pub(super) const LOGGING: &[Backend] = &[Backend {
    host: &["--enable-structured-logging"],
    ..Backend::plain("host", "")
}];
