//! What may run here, and what may be done: claims that are checked before anything is compiled
//! or run, and a policy service that is asked.

pub(crate) mod admission;
pub(crate) mod expiry;
pub(crate) mod policy;
pub(crate) mod rules;
pub(crate) mod secrets;

use std::sync::atomic::{AtomicBool, Ordering};

use lattice_claims::epoch_seconds;

use crate::config::TrustConfig;
pub(crate) use admission::{Admission, Artifact, Refusal};
pub(crate) use policy::{Denied, Policy, StartPolicyError};

/// Decides what runs on this host.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    rules: TrustConfig,
    /// The service that is asked as well, if there is one.
    pub(crate) policy: Option<Policy>,
    told: AtomicBool,
}

impl Trust {
    pub(crate) fn new(rules: TrustConfig, policy: Option<Policy>) -> Self {
        Self {
            rules,
            policy,
            told: AtomicBool::new(false),
        }
    }

    /// Whether an artifact may run, by what its token says and by the clock.
    pub(crate) fn admit(&self, image: &str, artifact: &Artifact<'_>) -> Result<(), Refusal> {
        let admission = admission::admit(artifact, &self.rules, epoch_seconds())?;
        if admission == Admission::Unsigned && !self.told.swap(true, Ordering::Relaxed) {
            tracing::info!(
                image,
                "runs what nobody has signed, as this host allows; `--require-signed` refuses it \
                 (said once)"
            );
        }
        Ok(())
    }
}
