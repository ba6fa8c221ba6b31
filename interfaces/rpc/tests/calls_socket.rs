//! The tests of calls, between two processes of one machine.

#[path = "calls.rs"]
mod calls;
