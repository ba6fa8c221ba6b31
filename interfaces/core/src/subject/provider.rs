//! Subjects by which a host manages its providers.

use std::sync::Arc;

use crate::id::{ComponentId, LatticeName};

const PREFIX: &str = "wasmbus.rpc";

/// The management subjects of one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSubjects {
    lattice: LatticeName,
    base: Arc<str>,
}

impl ProviderSubjects {
    /// The subjects of `provider` in `lattice`.
    #[must_use]
    pub fn new(lattice: &LatticeName, provider: &ComponentId) -> Self {
        Self {
            lattice: lattice.clone(),
            base: format!("{PREFIX}.{lattice}.{provider}").into(),
        }
    }

    /// Where the one process that owns a public curve key is told about links.
    #[must_use]
    pub fn link_put_sealed(&self, xkey_public: &str) -> String {
        format!("{PREFIX}.{}.{xkey_public}.linkdefs.put", self.lattice)
    }

    /// Where old and built-in providers are told about links, without secrets.
    #[must_use]
    pub fn link_put(&self) -> String {
        format!("{}.linkdefs.put", self.base)
    }

    /// Where providers are told that a link is gone.
    #[must_use]
    pub fn link_delete(&self) -> String {
        format!("{}.linkdefs.del", self.base)
    }

    /// Where the one process that owns a public curve key is told that a link is gone for it, though
    /// perhaps not for others with its id. Only newer peers listen there.
    #[must_use]
    pub fn link_delete_of(&self, xkey_public: &str) -> String {
        format!("{PREFIX}.{}.{xkey_public}.linkdefs.del", self.lattice)
    }

    /// Where a provider reports what it made of a link, see
    /// [`LinkReport`](crate::provider::LinkReport). Only newer peers use it.
    #[must_use]
    pub fn link_status(&self) -> String {
        format!("{}.linkstatus", self.base)
    }

    /// Where a provider is asked for its health.
    #[must_use]
    pub fn health(&self) -> String {
        format!("{}.health", self.base)
    }

    /// Where the one process that owns a public curve key is asked for its health. Only newer
    /// peers answer there.
    #[must_use]
    pub fn health_of(&self, xkey_public: &str) -> String {
        format!("{PREFIX}.{}.{xkey_public}.health", self.lattice)
    }

    /// Where the one process that owns a public curve key is sent new NATS credentials, sealed for
    /// that key. Only newer peers listen there.
    #[must_use]
    pub fn credentials(&self, xkey_public: &str) -> String {
        format!("{PREFIX}.{}.{xkey_public}.credentials", self.lattice)
    }

    /// Where that process says that it uses them.
    #[must_use]
    pub fn credentials_taken(&self, xkey_public: &str) -> String {
        format!("{PREFIX}.{}.{xkey_public}.credentials.taken", self.lattice)
    }

    /// Everything that the processes of the provider are told.
    #[must_use]
    pub fn all(&self) -> String {
        format!("{}.>", self.base)
    }

    /// Everything that is told to the one process that owns a public curve key.
    #[must_use]
    pub fn all_of(&self, xkey_public: &str) -> String {
        format!("{PREFIX}.{}.{xkey_public}.>", self.lattice)
    }

    /// Where the processes of a provider are told their complete new config. That of one may differ
    /// from that of another, so a process that is told its own elsewhere does not listen here.
    #[must_use]
    pub fn config_update(&self) -> String {
        format!("{}.config.update", self.base)
    }

    /// Where the one process that owns a public curve key is told its complete new config. Only newer
    /// peers use it.
    #[must_use]
    pub fn config_update_of(&self, xkey_public: &str) -> String {
        format!("{PREFIX}.{}.{xkey_public}.config.update", self.lattice)
    }

    /// Where the one process that owns a public curve key is given its own secrets anew, sealed for
    /// that key. Only newer peers use it.
    #[must_use]
    pub fn secrets_update(&self, xkey_public: &str) -> String {
        format!("{PREFIX}.{}.{xkey_public}.secrets.update", self.lattice)
    }

    /// Where the one process that owns a public curve key is told its renewed tokens, see
    /// [`PeerTokens`](crate::identity::PeerTokens). Only newer peers use it.
    #[must_use]
    pub fn identity_of(&self, xkey_public: &str) -> String {
        format!("{PREFIX}.{}.{xkey_public}.identity", self.lattice)
    }

    /// Where the one process that owns a public curve key reports calls that it refused, see
    /// [`CallRefused`](crate::event::CallRefused). Only newer peers use it.
    #[must_use]
    pub fn refused_of(&self, xkey_public: &str) -> String {
        format!("{PREFIX}.{}.{xkey_public}.refused", self.lattice)
    }

    /// Where the one process that owns a public curve key reports calls of its own that failed, see
    /// [`InvocationFailed`](crate::event::InvocationFailed). Only newer peers use it.
    #[must_use]
    pub fn failed_of(&self, xkey_public: &str) -> String {
        format!("{PREFIX}.{}.{xkey_public}.failed", self.lattice)
    }

    /// Where a provider is asked to end.
    #[must_use]
    pub fn shutdown(&self) -> String {
        format!("{}.default.shutdown", self.base)
    }
}
