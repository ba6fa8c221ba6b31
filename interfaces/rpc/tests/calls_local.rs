//! The tests of calls, between peers of one process.

#[path = "calls.rs"]
mod calls;
