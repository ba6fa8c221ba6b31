//! A lattice in a box: a real `nats-server`, host processes, provider processes and components,
//! driven by raw control messages, as a client of the 1.9 lattice would.
//!
//! Everything waits for an event or a state with a deadline, and everything that was started ends
//! when the [`Lattice`] is dropped. Programs and components are taken from the target folder; a
//! missing one is an error that names the command that builds it.

mod artifacts;
mod calls;
mod collector;
mod events;
mod http_client;
mod lattice;
mod monitor;
mod old_host;
pub mod policy;
mod process;
mod redis;
mod scenes;

pub use artifacts::{component, program, workspace};
pub use calls::{
    Calls, ECHO, HANDLE, SLEEP, call, echo, number, params, subject, text, texts, until, with_tail,
};
pub use collector::{Collector, SpanSeen};
pub use events::{Event, EventLog};
pub use http_client::{HttpClient, begin, get};
pub use lattice::{HostOptions, Lattice};
pub use lattice_nats_box::free_port;
pub use monitor::{Monitored, growth_allowed};
pub use old_host::OldHost;
pub use process::{HostProcess, ProcessUsage, peak, usage};
pub use redis::Redis;
pub use scenes::STORE;

use std::time::Duration;

/// How long a step of a test may take. A test machine may compile at the same time.
pub const STEP: Duration = Duration::from_secs(30);
