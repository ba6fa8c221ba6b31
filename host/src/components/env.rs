//! What a component gets from the host besides its calls: config, secrets, links, a place for its
//! log.

use std::sync::Arc;

use lattice_core::provider::SecretValue;
use lattice_core::{ComponentId, StringMap};
use lattice_runtime::{HostEnv, LogLevel, LogRecord, LogSource, SecretError, SecretText};
use parking_lot::RwLock;
use tokio::sync::watch;

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
