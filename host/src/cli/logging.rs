//! Where log lines and spans go.

use lattice_core::provider::LogLevel;
use lattice_telemetry::{Traces, log_filter, log_lines};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry};

/// What is written whatever level the log has.
const WANTED: &str = "guest::wanted=info";

/// Writes logs to the standard error, and has `traces` exported if there are any. Does nothing
/// when the program logs already.
pub(crate) fn init(level: LogLevel, structured: bool, traces: Option<&Traces>) {
    let (filter, wrong) = log_filter(&usual(level));
    let filter = with_wanted(filter);
    let lines = tracing_subscriber::fmt::layer::<Registry>().with_writer(log_lines);
    let lines = if structured {
        lines.json().boxed()
    } else {
        lines.boxed()
    };
    let set = tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(traces.map(Traces::layer))
        .try_init();
    match (set, traces) {
        (Ok(()), Some(traces)) => traces.switch_on(),
        (Ok(()), None) => {}
        (Err(_), Some(_)) => tracing::warn!("no traces are exported: logging was set up before"),
        (Err(_), None) => tracing::debug!("logging was set up before"),
    }
    if let Some(wrong) = wrong {
        tracing::warn!(hint = wrong.hint(), "{wrong}");
    }
}

/// The NATS client tells each reconnect on `info`; the host tells that itself. The AMQP client warns
/// of messages that come back, with their bodies.
fn usual(level: LogLevel) -> String {
    format!(
        "{},async_nats=warn,cranelift_codegen=warn,lapin=error",
        level.as_filter()
    )
}

/// Lets lines through that a component's own config asks for, see `log_level` there.
fn with_wanted(filter: EnvFilter) -> EnvFilter {
    match WANTED.parse() {
        Ok(wanted) => filter.add_directive(wanted),
        Err(_) => filter,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_config_asks_for_is_written_below_the_level_of_the_log() {
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let filter = with_wanted(EnvFilter::new(usual(LogLevel::Error)));
        let log = tracing_subscriber::registry().with(lines.with_filter(filter));
        tracing::subscriber::with_default(log, || {
            tracing::info!(target: "guest::wanted", "asked for");
            tracing::info!(target: "guest", "not asked for by the component");
            tracing::warn!("not asked for by anybody");
            tracing::error!(target: "guest", "as always");
        });
        let written = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(written.contains("asked for") && written.contains("as always"));
        assert!(!written.contains("not asked"), "{written}");
    }
}
