//! What a provider is made of.
//!
//! A provider is a type that implements [`Provider`]: it is told about its links, its config and
//! the end of its life, and through its [`Session`] it serves functions and calls components.
//! [`run`] does the rest: the connection, the management subjects, the link table with retries,
//! the link reports, health, draining. It touches nothing of the process, so that a provider can
//! run inside another one; a provider that is a process of its own has a `main` of one line, made
//! of [`process`] (feature `process`).
//!
//! ```
//! use std::sync::Arc;
//! use lattice_provider_sdk::{
//!     HealthCheckResponse, LinkError, Provider, ProviderLink, Session, StartError,
//! };
//!
//! struct Greeter;
//!
//! #[lattice_provider_sdk::async_trait]
//! impl Provider for Greeter {
//!     const NAME: &'static str = "greeter";
//!
//!     async fn start(_session: Session) -> Result<Arc<Self>, StartError> {
//!         Ok(Arc::new(Self))
//!     }
//!
//!     async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
//!         match link.value("greeting") {
//!             Some(_) => Ok(()),
//!             None => Err(LinkError::invalid("the link has no value `greeting`")),
//!         }
//!     }
//!
//!     async fn health(&self) -> HealthCheckResponse {
//!         HealthCheckResponse::healthy()
//!     }
//! }
//!
//! // In the binary: fn main() -> ExitCode { lattice_provider_sdk::process::main::<Greeter>("0.1.0") }
//! ```

mod backends;
#[allow(dead_code, reason = "used by the capabilities that are chosen")]
mod complaint;
mod describe;
mod error;
mod failures;
pub mod files;
mod hide;
mod identity;
mod link;
mod links;
mod manage;
mod naming;
pub mod nats;
mod provider;
#[cfg(any(feature = "lock", feature = "sql"))]
mod random;
mod redact;
mod renewal;
mod roads;
mod run;
mod serving;
mod session;
mod settings;
mod sharing;
mod traced;
#[allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "used by the capabilities that are chosen"
)]
mod wire;

#[cfg(feature = "blobstore")]
pub mod blobstore;
#[cfg(feature = "keyvalue")]
pub mod keyvalue;
#[cfg(feature = "lock")]
pub mod lock;
#[cfg(feature = "messaging")]
pub mod messaging;
#[cfg(feature = "process")]
pub mod process;
#[cfg(feature = "queue")]
pub mod queue;
#[cfg(feature = "schedule")]
pub mod schedule;
#[cfg(feature = "sql")]
pub mod sql;

pub use async_trait::async_trait;
pub use backends::{Backends, NoLink};
pub use describe::{Features, vocabulary};
pub use error::{BoxError, LinkError, RunError, ServeError, StartError, call_error, chain};
// What the types and traits of this crate name of other crates: a provider needs none but this one.
pub use lattice_core::provider::{
    HealthCheckResponse, HostData, SecretMap, SecretText, SecretValue,
};
pub use lattice_core::{
    Backoff, ComponentId, LatticeName, LinkName, LinkRules, Locality, StringMap, WitName,
};
pub use lattice_rpc::wrpc::{CallContext, Client};
pub use lattice_rpc::{
    Call, CallError, ConnectError, Context, IncomingCall, Invocation, Params, Peer, RemoteError,
    Responder, ResultMessage, ServeOptions,
};
/// Spans, for providers that begin traces.
pub mod telemetry {
    pub use lattice_telemetry::{Begun, TARGET, begin, failed, is_on};

    pub use crate::traced::road_told;
}
pub use link::{LinkKey, LinkRole, ProviderLink};
pub use provider::{ConfigChange, Provider};
pub use run::{run, run_inside, run_on};
pub use serving::{Check, Invocations, Server};
pub use session::{DEFAULT_DEADLINE, Session};
pub use settings::{InvalidSetting, Settings};
pub use sharing::{Shared, Sharing};
pub use tokio_util::sync::CancellationToken;
