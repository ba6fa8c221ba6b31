//! The transport behind the traits of `wrpc-transport`, for generated bindings.
//!
//! [`Client`] implements [`Invoke`] and [`Server`] implements [`Serve`]; bindings made by
//! `wit-bindgen-wrpc` run on them unchanged. The calls they make and take are those of
//! [`Peer::start`] and [`Peer::serve`], with the same deadlines and errors.

mod client;
mod incoming;
mod outgoing;
mod server;

pub use client::{CallContext, Client};
pub use incoming::Incoming;
pub use outgoing::Outgoing;
pub use server::{Refusal, Server, Taken};

use std::io;

use lattice_codec::Path;

use crate::error::CallError;

fn io_error(error: CallError) -> io::Error {
    let kind = match &error {
        CallError::NotServed { .. } => io::ErrorKind::NotConnected,
        CallError::Gone { .. } => io::ErrorKind::ConnectionReset,
        CallError::Deadline { .. } | CallError::NotSent { .. } => io::ErrorKind::TimedOut,
        CallError::Cancelled => io::ErrorKind::ConnectionAborted,
        CallError::Incomplete { .. } => io::ErrorKind::UnexpectedEof,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

fn to_path(indices: &[usize]) -> anyhow::Result<Path> {
    let indices = indices
        .iter()
        .map(|index| u32::try_from(*index))
        .collect::<Result<Vec<_>, _>>()?;
    anyhow::ensure!(
        indices.len() <= Path::MAX_LEN,
        "a stream is nested too deeply"
    );
    Ok(Path::new(indices))
}

fn join(prefix: &[usize], path: &[usize]) -> Vec<usize> {
    [prefix, path].concat()
}
