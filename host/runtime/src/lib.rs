//! Runs components: engine, limits, host-implemented imports and calls that leave the host.
//!
//! [`Runtime`] owns the engine. [`Runtime::prepare`] turns the bytes of a component into a
//! [`Component`], for which everything that does not change from call to call is built once;
//! each [`Component::call`] and [`Component::handle_http`] then runs in a fresh store with a
//! fresh instance, within its memory limit, CPU budget and deadline. Only a component that asks
//! for [`Reuse`] has instances that serve one call after the other.
//!
//! The crate knows no network. What a component imports and the runtime does not implement
//! leaves through the trait [`Invoke`]; configuration, secrets and log lines come and go through
//! [`HostEnv`]; compiled code that hosts share is kept by a [`CodeStore`].

mod backtrace;
mod component;
mod runtime;

mod cache;
mod compile;
mod config;
mod engine;
mod machine;
mod prepare;
mod sharing;
mod ticker;

mod call;
mod export;
mod exports;
mod http;
mod instance;
mod instance_pool;
mod limits;
mod stdio;
mod store;
mod value_room;

mod dynamic;
mod env;
mod imports;
mod invoke;
mod outbound;

mod codec;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod wire;

#[cfg(test)]
mod testing;

pub use codec::{CodecError, Shape};
pub use compile::CodeSources;
pub use component::Component;
pub use config::{ComponentOptions, Reuse, RuntimeConfig};
pub use engine::EngineChoices;
pub use env::{HostEnv, LogLevel, LogRecord, LogSource, SecretError, SecretText};
pub use error::{CallError, HttpCallError, PrepareError, RuntimeError, SealCodeError};
pub use export::{Export, ExportKind};
pub use http::{HttpBody, HttpResponse, ResponseBody};
pub use invoke::{
    ByteStream, CallContext, ImportTarget, Invoke, InvokeError, StreamingReply, Value,
};
pub use machine::memory_bytes;
pub use runtime::Runtime;
pub use sharing::{CodeName, CodeOffer, CodeSharing, CodeStore};
