//! The tests of calls that leave, between two processes of one machine.

#[path = "leave.rs"]
mod leave;
