//! Traces of a process: who samples, how their context travels, and how spans are exported; and what all
//! processes do alike with their logs.
//!
//! A span is an ordinary `tracing` span with the target [`TARGET`], made by [`begin`] for work that
//! came with a trace context or is the root of a new trace. Whether a trace is sampled is decided
//! there, before anything is made: what is not sampled has no span at all. What other code does
//! inside such a span, spans and events of its own, is exported as part of it; lines that components
//! log (target `guest`) are not.
//!
//! ```no_run
//! # use lattice_core::provider::OtelConfig;
//! # use lattice_telemetry::{Service, Traces, TracesError, begin, TARGET};
//! # use tracing_subscriber::layer::SubscriberExt as _;
//! # use tracing_subscriber::util::SubscriberInitExt as _;
//! # use std::time::Duration;
//! # async fn demo(config: OtelConfig) -> Result<(), TracesError> {
//! let service = Service { name: "demo", instance: "1", lattice: "default" };
//! let Some(traces) = Traces::start(&config, &service)? else { return Ok(()) };
//! tracing_subscriber::registry().with(traces.layer()).init();
//! traces.switch_on();
//! let begun = begin(None, || tracing::info_span!(target: TARGET, "work"));
//! // … pass on `begun.onward` …
//! drop(begun);
//! traces.end(Duration::from_secs(2)).await;
//! # Ok(()) }
//! ```

mod begin;
mod client;
mod context;
mod filter;
mod ids;
mod lines;
mod queue;
mod sampler;
mod settings;
mod traces;

pub use begin::{Begun, begin, failed, is_on};
pub use filter::{LogFilterError, log_filter};
pub use lines::{LogLines, log_lines};
pub use sampler::{Sampler, SamplerError};
pub use settings::{TraceSettings, TracesError};
pub use traces::{Service, Traces, flush};

/// The target of spans that are exported. Log filters can name it.
pub const TARGET: &str = "lattice_trace";
