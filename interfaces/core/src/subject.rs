//! Every subject, queue group, bucket and key of a lattice.
//!
//! This is the only place where such texts are made, so that a rename is one
//! change and a typing error is none.

pub mod control;
pub mod event;
mod overlap;
pub mod provider;
pub mod reserved;
pub mod rights;
pub mod rpc;
pub mod secrets;
pub mod store;

pub use control::{ControlOp, ControlSubjects, Filter, TopicPrefix, UnsupportedSubject};
pub use overlap::overlap;
pub use provider::ProviderSubjects;
pub use reserved::{is_reserved, takes_answers};
pub use rights::ProviderRights;
pub use rpc::RpcPrefix;
pub use secrets::{SecretsOp, SecretsSubjects};

#[cfg(test)]
mod tests;
