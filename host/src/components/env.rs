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
    router: Router,
    config: RwLock<Arc<StringMap>>,
}

impl ComponentEnv {
    pub(crate) fn new(id: ComponentId, router: Router, config: Arc<StringMap>) -> Self {
        Self {
            id,
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
        self.router.resolve(&self.id, link_name, lookup).is_ok()
    }

    fn log(&self, record: LogRecord<'_>) {
        let component = self.id.as_str();
        let LogRecord {
            source,
            level,
            context,
            message,
        } = record;
        let source = match source {
            LogSource::Logging => "logging",
            LogSource::Stderr => "stderr",
            LogSource::Runtime => "runtime",
        };
        // The text is the guest's: fields are escaped where they are written, lines are not.
        match level {
            LogLevel::Trace => {
                tracing::trace!(target: "guest", component, source, context, message = ?message);
            }
            LogLevel::Debug => {
                tracing::debug!(target: "guest", component, source, context, message = ?message);
            }
            LogLevel::Info => {
                tracing::info!(target: "guest", component, source, context, message = ?message);
            }
            LogLevel::Warn => {
                tracing::warn!(target: "guest", component, source, context, message = ?message);
            }
            LogLevel::Error | LogLevel::Critical => {
                tracing::error!(target: "guest", component, source, context, message = ?message);
            }
        }
    }
}
