//! What the lattice should know about a component that runs: claims and a spec.

use std::time::Duration;

use lattice_core::record::StoredClaims;
use lattice_core::{Backoff, ComponentId, ImageRef, Spread};
use lattice_store::{LatticeStore, StoreError};
use tokio_util::task::AbortOnDropHandle;

/// Pauses after a write that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The records of one version of a component.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) id: ComponentId,
    pub(crate) image: ImageRef,
    pub(crate) claims: Option<StoredClaims>,
}

impl Record {
    /// Writes what is not there yet.
    pub(crate) async fn write(&self, store: &LatticeStore) -> Result<(), StoreError> {
        if let Some(claims) = &self.claims {
            store.claims().put(claims).await?;
        }
        let links = store.links();
        links.ensure_spec(&self.id, self.image.as_str()).await
    }

    /// Writes it as soon as the store takes it, unless what this returns is dropped before.
    pub(crate) fn write_later(self, store: LatticeStore) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(tokio::spawn(async move {
            let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE).spread_by(Spread::Shorter);
            loop {
                tokio::time::sleep(backoff.delay()).await;
                let (component, image) = (self.id.as_str(), self.image.as_str());
                match self.write(&store).await {
                    Ok(()) => {
                        tracing::info!(component, image, "recorded a component that runs");
                        return;
                    }
                    Err(error) => {
                        tracing::warn!(component, image, %error, "could not record a component that runs, trying again");
                    }
                }
            }
        }))
    }
}
