//! Every subject, queue group, bucket and key of a lattice.
//!
//! This is the only place where such texts are made, so that a rename is one
//! change and a typing error is none.

pub mod control;
pub mod event;
pub mod provider;
pub mod rpc;
pub mod store;

pub use control::{ControlOp, ControlSubjects, Filter, TopicPrefix, UnsupportedSubject};
pub use provider::ProviderSubjects;
pub use rpc::RpcPrefix;

#[cfg(test)]
mod tests;
