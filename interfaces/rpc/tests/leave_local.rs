//! The tests of calls that leave, between peers of one process.

#[path = "leave.rs"]
mod leave;
