//! The wRPC value encoding: component-model values as packed bytes, without any I/O.
//!
//! [`Reader`] and the functions of [`write`] are the two halves of the encoding that the
//! protocol page describes in 4.6. Everything that comes off the wire is checked against the
//! bytes that are really there before anything is allocated for it, so that a count chosen by
//! a hostile peer costs nothing. [`http`] holds the records of `wrpc:http@0.1.0` (9.3), and
//! [`Path`] names the stream or future inside a value that travels apart from it.

mod error;
pub mod http;
mod path;
mod reader;
pub mod write;

pub use error::DecodeError;
pub use path::{Path, PathError};
pub use reader::Reader;
