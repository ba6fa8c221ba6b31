//! The host process: runs components, supervises providers, answers the control interface.
//!
//! [`Host`] assembles the owners of the host's parts; each table has one owner and one lock.
//! [`cli`] is the command line that `lattice-host` and `wash host` share.

pub mod builtin;
pub mod cli;
pub mod config;

mod admin;
mod artifact;
mod bus_errors;
mod bus_log;
mod claims;
mod components;
mod configs;
mod connect;
mod control;
mod deaths;
mod events;
mod failures;
mod heartbeat;
mod host;
mod identity;
mod inventory;
mod labels;
mod lines;
mod links;
#[cfg(test)]
mod logged;
mod memory;
mod metrics;
mod providers;
mod refusals;
mod registries;
mod router;
mod shared_code;
mod strict;
mod sync;
mod threads;
mod trust;
mod vouch;

pub use config::HostConfig;
pub use host::{Host, StartHostError, StopReason, StopRequest};
pub use identity::VERSION;
