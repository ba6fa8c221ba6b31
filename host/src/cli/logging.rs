//! Where log lines go.

use lattice_core::provider::LogLevel;
use tracing_subscriber::EnvFilter;

/// Writes logs to the standard error. Does nothing when the program logs already.
pub(crate) fn init(level: LogLevel, structured: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| default_filter(level));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let set = if structured {
        lines.json().try_init()
    } else {
        lines.try_init()
    };
    if set.is_err() {
        tracing::debug!("logging was set up before");
    }
}

/// The NATS client tells each reconnect on `info`; the host tells that itself.
fn default_filter(level: LogLevel) -> EnvFilter {
    EnvFilter::new(format!(
        "{},async_nats=warn,cranelift_codegen=warn",
        level.as_filter()
    ))
}
