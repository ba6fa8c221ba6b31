//! What a component gets from the host besides its calls: config, secrets, links, a place for its
//! log.

use std::sync::Arc;

use lattice_core::provider::SecretValue;
use lattice_core::{ComponentId, StringMap};
use lattice_runtime::{HostEnv, LogLevel, LogRecord, LogSource, SecretError, SecretText};
use parking_lot::RwLock;
use tokio::sync::watch;
use tracing::callsite::{DefaultCallsite, Identifier};
use tracing::field::FieldSet;
use tracing::metadata::Kind;
use tracing::{Level, Metadata};

use crate::router::Router;
use crate::trust::secrets::{SecretBundle, SecretState};

/// The surroundings of one component. They outlive its versions.
#[derive(Debug)]
pub(crate) struct ComponentEnv {
    id: ComponentId,
    host: Arc<str>,
    router: Router,
    config: RwLock<Arc<StringMap>>,
    secrets: RwLock<watch::Receiver<SecretState>>,
}

impl ComponentEnv {
    pub(crate) fn new(
        id: ComponentId,
        host: Arc<str>,
        router: Router,
        config: Arc<StringMap>,
        secrets: &SecretBundle,
    ) -> Self {
        Self {
            id,
            host,
            router,
            config: RwLock::new(config),
            secrets: RwLock::new(secrets.view()),
        }
    }

    /// Replaces the config; calls see it at their next `get`.
    pub(crate) fn set_config(&self, config: Arc<StringMap>) {
        *self.config.write() = config;
    }

    /// Replaces the secrets; calls see them at their next `get`.
    pub(crate) fn set_secrets(&self, secrets: &SecretBundle) {
        *self.secrets.write() = secrets.view();
    }
}

/// Whether the host's log takes lines of a level with the target `guest`, as its filters have said when
/// they were set up; true where they decide about each line. `tracing::enabled!` is of no use here:
/// where layers have filters of their own it is true for what none of them takes, and leaves a mark
/// behind for the next line.
macro_rules! is_taken {
    ($level:ident) => {{
        static SITE: DefaultCallsite = {
            static META: Metadata<'static> = Metadata::new(
                "line of a component",
                "guest",
                Level::$level,
                None,
                None,
                None,
                FieldSet::new(&[], Identifier(&SITE)),
                Kind::HINT,
            );
            DefaultCallsite::new(&META)
        };
        !SITE.interest().is_never()
    }};
}

impl HostEnv for ComponentEnv {
    fn component_id(&self) -> &str {
        self.id.as_str()
    }

    fn config(&self) -> Arc<StringMap> {
        Arc::clone(&self.config.read())
    }

    fn secret(&self, key: &str) -> Result<SecretText, SecretError> {
        let secrets = self.secrets.read();
        let state = secrets.borrow();
        match &*state {
            SecretState::Ready(secrets) => match secrets.get(key) {
                Some(SecretValue::String(text)) => Ok(SecretText::String(text.clone())),
                Some(SecretValue::Bytes(bytes)) => Ok(SecretText::Bytes(bytes.clone().into())),
                None => Err(SecretError::NotFound),
            },
            SecretState::Failed(error) => Err(error.for_guest()),
            // A component is not started before its secrets are there.
            SecretState::Pending => Err(SecretError::Io("the secret is being asked for".into())),
        }
    }

    fn has_link(&self, link_name: &str, lookup: &str) -> bool {
        self.router.is_linked(&self.id, link_name, lookup)
    }

    fn link_version(&self, link_name: &str, lookup: &str) -> Option<u64> {
        let route = self.router.resolve(&self.id, link_name, lookup).ok()?;
        Some(route.version)
    }

    fn writes(&self, level: LogLevel) -> bool {
        is_written(level)
    }

    fn log(&self, record: LogRecord<'_>) {
        if record.is_wanted {
            self.write_wanted(&record);
        } else {
            self.write(&record);
        }
    }
}

/// Writes a line of a component. The target and level are part of the program, so that each pair
/// stands by itself. The text is the guest's: fields are escaped where they are written, lines are
/// not.
macro_rules! line {
    ($env:ident, $record:ident, $target:literal, $level:ident $(, $field:ident = $value:expr)?) => {
        tracing::$level!(
            target: $target,
            component = $env.id.as_str(),
            host = &*$env.host,
            source = source($record.source),
            $($field = $value,)?
            context = $record.context,
            call = $record.call,
            trace = $record.trace,
            message = ?$record.message
        )
    };
}

impl ComponentEnv {
    /// Writes a line if the host's log takes its level.
    fn write(&self, record: &LogRecord<'_>) {
        match record.level {
            LogLevel::Trace => line!(self, record, "guest", trace),
            LogLevel::Debug => line!(self, record, "guest", debug),
            LogLevel::Info => line!(self, record, "guest", info),
            LogLevel::Warn => line!(self, record, "guest", warn),
            LogLevel::Error | LogLevel::Critical => line!(self, record, "guest", error),
        }
    }

    /// Writes a line that the component's config asks for, whatever level the host's log has. Those
    /// below `info` are written as such, with their own level beside: to let lower levels of one
    /// target through makes everything else slower that is not written.
    fn write_wanted(&self, record: &LogRecord<'_>) {
        match record.level {
            LogLevel::Trace => line!(self, record, "guest::wanted", info, guest_level = "trace"),
            LogLevel::Debug => line!(self, record, "guest::wanted", info, guest_level = "debug"),
            LogLevel::Info => line!(self, record, "guest::wanted", info),
            LogLevel::Warn => line!(self, record, "guest::wanted", warn),
            LogLevel::Error | LogLevel::Critical => line!(self, record, "guest::wanted", error),
        }
    }
}

fn is_written(level: LogLevel) -> bool {
    match level {
        LogLevel::Trace => is_taken!(TRACE),
        LogLevel::Debug => is_taken!(DEBUG),
        LogLevel::Info => is_taken!(INFO),
        LogLevel::Warn => is_taken!(WARN),
        LogLevel::Error | LogLevel::Critical => is_taken!(ERROR),
    }
}

fn source(source: LogSource) -> &'static str {
    match source {
        LogSource::Logging => "logging",
        LogSource::Stderr => "stderr",
        LogSource::Runtime => "runtime",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tracing_subscriber::filter::{DynFilterFn, LevelFilter};
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::{EnvFilter, Layer as _, Registry};

    #[test]
    fn it_is_known_which_lines_the_log_does_not_take() {
        let lines = tracing_subscriber::fmt::layer::<Registry>().with_writer(std::io::sink);
        // As that of traces: it decides about each line.
        let others = DynFilterFn::new(|_, _| false).with_max_level_hint(LevelFilter::INFO);
        let log = tracing_subscriber::registry()
            .with(lines.with_filter(EnvFilter::new("warn,lattice=trace")))
            .with(tracing_subscriber::fmt::layer().with_filter(others));
        tracing::subscriber::with_default(log, || {
            assert!(is_written(LogLevel::Error) && is_written(LogLevel::Warn));
            assert!(!is_written(LogLevel::Debug) && !is_written(LogLevel::Trace));
        });
    }
}
