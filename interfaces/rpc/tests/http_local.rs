//! The tests of HTTP messages, between peers of one process.

#[path = "http.rs"]
mod http;
