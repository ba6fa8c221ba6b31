//! Arrangements of components and providers that several tests begin with.

use anyhow::Result;

use crate::{HostOptions, Lattice};

/// What the counter example calls of its store.
pub const STORE: &str = "wasi:keyvalue/store,atomics";

impl Lattice {
    /// A lattice of one host that got `arguments`.
    ///
    /// # Errors
    ///
    /// As [`Lattice::start`].
    pub async fn start_host(arguments: &[&str]) -> Result<Self> {
        let mut lattice = Self::start(0).await?;
        let arguments = arguments.iter().copied().map(str::to_owned).collect();
        lattice
            .add_host(HostOptions {
                arguments,
                ..HostOptions::default()
            })
            .await?;
        Ok(lattice)
    }

    /// Runs `counter`, the counter example, on a host, with its store `kv` on others.
    ///
    /// # Errors
    ///
    /// Fails when one of the steps does.
    pub async fn run_counter(&self, host: usize, stores: &[usize], count: u32) -> Result<()> {
        self.run(host, "counter", "http-keyvalue-counter", count)
            .await?;
        for store in stores {
            self.provide_store(*store).await?;
        }
        self.link("counter", "kv", STORE, &[], &[]).await
    }

    /// Starts the store `kv`, which keeps its values in NATS.
    ///
    /// # Errors
    ///
    /// As [`Lattice::provide`].
    pub async fn provide_store(&self, host: usize) -> Result<()> {
        self.provide(host, "kv", "keyvalue-nats-provider", &[])
            .await
    }

    /// Runs `caller` on the first host, which hands calls on to the probe `target`.
    ///
    /// # Errors
    ///
    /// Fails when one of the steps does.
    pub async fn run_caller(&self, target: &str, count: u32) -> Result<()> {
        self.run(0, "caller", "caller", count).await?;
        let interfaces = "test:probe/echo,behave,keyvalue,types";
        self.link("caller", target, interfaces, &[], &[]).await
    }
}
