//! The host process: runs components, supervises providers, answers the control interface.
//!
//! [`Host`] assembles the owners of the host's parts; each table has one owner and one lock.
//! [`cli`] is the command line that `lattice-host` and `wash host` share.

pub mod cli;
pub mod config;

mod artifact;
mod components;
mod connect;
mod events;
mod failures;
mod host;
mod identity;
mod labels;
mod links;
mod router;

pub use config::HostConfig;
pub use host::{Host, StartHostError, StopReason, StopRequest};
pub use identity::VERSION;
