//! The tests of HTTP messages, between two processes of one machine.

#[path = "http.rs"]
mod http;
