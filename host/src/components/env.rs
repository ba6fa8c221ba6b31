//! What a component gets from the host besides its calls: config, links, a place for its log.

use std::sync::Arc;

use lattice_core::{ComponentId, StringMap};
use lattice_runtime::{HostEnv, LogLevel, LogRecord, LogSource, SecretError, SecretText};
use parking_lot::RwLock;

use crate::router::Router;

/// The surroundings of one component. They outlive its versions.
#[derive(Debug)]
pub(crate) struct ComponentEnv {
    id: ComponentId,
    host: Arc<str>,
    router: Router,
    config: RwLock<Arc<StringMap>>,
}

impl ComponentEnv {
    pub(crate) fn new(
        id: ComponentId,
        host: Arc<str>,
        router: Router,
        config: Arc<StringMap>,
    ) -> Self {
        Self {
            id,
            host,
            router,
            config: RwLock::new(config),
        }
    }

    /// Replaces the config; calls see it at their next `get`.
    pub(crate) fn set_config(&self, config: Arc<StringMap>) {
        *self.config.write() = config;
    }
}

impl HostEnv for ComponentEnv {
    fn component_id(&self) -> &str {
        self.id.as_str()
    }

    fn config(&self) -> Arc<StringMap> {
        Arc::clone(&self.config.read())
    }

    fn secret(&self, _key: &str) -> Result<SecretText, SecretError> {
        // A component that names secrets is not started while there is no backend for them.
        Err(SecretError::NotFound)
    }

    fn has_link(&self, link_name: &str, lookup: &str) -> bool {
        self.router.is_linked(&self.id, link_name, lookup)
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

fn source(source: LogSource) -> &'static str {
    match source {
        LogSource::Logging => "logging",
        LogSource::Stderr => "stderr",
        LogSource::Runtime => "runtime",
    }
}
