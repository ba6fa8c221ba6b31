//! Providers that run inside the host.
//!
//! The host knows how to run one, and the program that holds the host says which there are.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_nats::Client;
use async_trait::async_trait;
use lattice_core::provider::HostData;
use lattice_rpc::{BulkConnection, Switchboard};
use tokio_util::sync::CancellationToken;

/// The first argument with which a host starts its own program to run the provider that the second
/// one names as a process of its own.
pub const AS_PROCESS: &str = "--builtin-provider";

/// What a provider inside the host is given for one life.
#[derive(Debug)]
pub struct BuiltinContext {
    /// The connection of the host for calls. It stays open after the provider.
    pub nats: Client,
    /// That for long streams, which the host shares with what is in it.
    pub bulk: Option<BulkConnection>,
    /// What a provider process reads from its standard input.
    pub data: HostData,
    /// Where the provider meets what else runs in this process.
    pub local: Switchboard,
    /// Cancelled when the provider should end.
    pub stop: CancellationToken,
}

/// A provider that can run inside the host, any number of times at once.
#[async_trait]
pub trait Builtin: Send + Sync {
    /// Runs the provider until it is told to stop.
    ///
    /// # Errors
    ///
    /// Says why the provider could not start, or why it ended by itself.
    async fn run(&self, context: BuiltinContext) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// The providers that a host can run inside itself, by the name after `builtin://`.
#[derive(Clone, Default)]
pub struct Builtins {
    by_name: BTreeMap<&'static str, Arc<dyn Builtin>>,
    program: Option<PathBuf>,
}

impl std::fmt::Debug for Builtins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

impl Builtins {
    /// No provider at all.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            by_name: BTreeMap::new(),
            program: None,
        }
    }

    /// Adds a provider; one that has the name already is replaced.
    #[must_use]
    pub fn with(mut self, name: &'static str, builtin: impl Builtin + 'static) -> Self {
        self.by_name.insert(name, Arc::new(builtin));
        self
    }

    /// Runs each provider as a process of its own all the same: with `program`, which has to run
    /// the provider that [`AS_PROCESS`] names.
    #[must_use]
    pub fn isolated(mut self, program: PathBuf) -> Self {
        self.program = Some(program);
        self
    }

    pub(crate) fn program(&self) -> Option<&Path> {
        self.program.as_deref()
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<dyn Builtin>> {
        self.by_name.get(name).cloned()
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.by_name.keys().copied()
    }
}
