//! What every process of a lattice agrees on: ids, subjects, links, configs,
//! events, host data and replies; and what all of them do alike when they try
//! again ([`Backoff`]) or tell of texts of others ([`mod@text`]).
//!
//! The crate does no I/O. Every type that crosses the wire is plain data with
//! public fields and encodes to the exact JSON of the 1.9 lattice generation;
//! fields of ours that old peers do not know are left out when empty.

mod backoff;
pub mod config;
pub mod event;
pub mod grant;
pub mod host;
pub mod id;
pub mod identity;
pub mod keyvalue;
pub mod link;
pub mod locality;
pub mod policy;
pub mod provider;
pub mod record;
pub mod reference;
pub mod reply;
pub mod road;
pub mod rules;
pub mod secrets;
pub mod subject;
pub mod text;
pub mod trace;
pub mod uptime;
pub mod values;

mod json;

pub use backoff::{Backoff, Spread};
pub use id::{
    BackendName, ComponentId, ConfigName, HostId, ImageRef, InterfaceName, InvalidId, LatticeName,
    LinkName, WitName,
};
pub use link::{InterfaceRef, Link, LinkKey, LinkStatus, ResolvedLink};
pub use locality::Locality;
pub use reply::{CtlResponse, ErrorCode};
pub use road::{Road, RoadCounts, Why};
pub use rules::LinkRules;
pub use trace::TraceContext;

/// A map of strings that keeps the order in which its entries arrived.
///
/// Equality ignores the order; encoding keeps it, so that a record decodes and
/// encodes back to the same bytes.
pub type StringMap = indexmap::IndexMap<String, String>;
