//! Stand-ins for the host in unit tests.

use std::sync::{Arc, Mutex};

use indexmap::IndexMap;

use crate::{HostEnv, LogRecord, SecretError, SecretText};

/// An environment that remembers what was logged.
#[derive(Default)]
pub(crate) struct FakeEnv {
    logged: Mutex<Vec<String>>,
}

impl FakeEnv {
    pub(crate) fn logged(&self) -> Vec<String> {
        self.logged.lock().unwrap().clone()
    }
}

impl HostEnv for FakeEnv {
    fn component_id(&self) -> &str {
        "test"
    }

    fn config(&self) -> Arc<IndexMap<String, String>> {
        Arc::default()
    }

    fn secret(&self, _: &str) -> Result<SecretText, SecretError> {
        Err(SecretError::NotFound)
    }

    fn has_link(&self, _: &str, _: &str) -> bool {
        false
    }

    fn log(&self, record: LogRecord<'_>) {
        self.logged.lock().unwrap().push(record.message.to_owned());
    }
}
