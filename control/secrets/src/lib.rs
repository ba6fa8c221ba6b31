//! The secrets protocol (protocol page, 7.2): its client, and the reference backend.
//!
//! [`SecretsClient`] asks any backend; hosts use it for what components, providers and links name.
//! [`Backend`] answers in the way that users of 1.x know as `secrets-nats-kv`: values lie sealed in
//! a bucket, and a second bucket says which entity may have which.

mod backend;
mod client;
mod error;
mod exchange;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handler;
mod mappings;
mod proof;
mod vault;

pub use backend::{Backend, BackendConfig};
pub use client::SecretsClient;
pub use error::{AskError, ServeError};
pub use vault::{StoredValues, VaultError};
