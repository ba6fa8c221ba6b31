//! Where secrets come from.

use std::time::Duration;

use lattice_claims::CurveKey;
use lattice_core::BackendName;
use lattice_core::subject::TopicPrefix;

/// Where secrets come from.
#[derive(Debug, Clone)]
pub struct SecretsConfig {
    /// What the subjects of secrets backends start with; without it nothing that names a secret is
    /// started.
    pub topic: Option<TopicPrefix>,
    /// How often backends are asked again for the secrets in use, so that changed ones get there.
    pub refresh: Duration,
    /// Backends whose keys are known beforehand: answers in their names have to be proven by them.
    pub backend_keys: Vec<(BackendName, CurveKey)>,
}

impl Default for SecretsConfig {
    fn default() -> Self {
        Self {
            topic: None,
            refresh: Duration::from_secs(30),
            backend_keys: Vec::new(),
        }
    }
}
