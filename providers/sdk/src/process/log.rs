//! Where log lines and spans of a provider process go.

use lattice_core::provider::{HostData, LogLevel};
use lattice_telemetry::{Service, Traces, log_filter, log_lines};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry};

use crate::error::chain;

/// Writes logs to the standard error, and has traces exported if the host wants it. Has to be
/// called within a runtime.
pub(super) fn begin(data: &HostData, name: &str) -> Option<Traces> {
    let service = Service {
        name,
        instance: &data.instance_id,
        lattice: &data.lattice_rpc_prefix,
    };
    let traces = Traces::start(&data.otel_config, &service);
    log_to_stderr(data, traces.as_ref().ok().and_then(Option::as_ref));
    traces.unwrap_or_else(|error| {
        // The host decides what its providers are told; a call that is not traced is still a call.
        let (why, hint) = (chain(&error), error.hint());
        tracing::warn!(why, hint, "no traces are exported");
        None
    })
}

fn log_to_stderr(data: &HostData, traces: Option<&Traces>) {
    let level = data.log_level.unwrap_or(LogLevel::Info).as_filter();
    // What the NATS client has to say is said by the connection's own events; the AMQP client warns
    // of messages that come back, with their bodies.
    let (filter, wrong) = log_filter(&format!("{level},async_nats=error,lapin=error"));
    let lines = tracing_subscriber::fmt::layer::<Registry>().with_writer(log_lines);
    let lines = if data.structured_logging {
        lines.json().flatten_event(true).boxed()
    } else {
        lines.with_ansi(false).boxed()
    };
    let set = tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(traces.map(Traces::layer))
        .try_init();
    match (set, traces) {
        (Ok(()), Some(traces)) => traces.switch_on(),
        (Ok(()), None) => {}
        (Err(error), _) => eprintln!("warning: no log and no traces: {error}"),
    }
    if let Some(wrong) = wrong {
        tracing::warn!(hint = wrong.hint(), "{wrong}");
    }
}
