//! What a provider implements.

use std::sync::Arc;

use async_trait::async_trait;
use lattice_core::StringMap;
use lattice_core::provider::HealthCheckResponse;
use tokio::time::Instant;

use crate::describe::Features;
use crate::error::{LinkError, StartError};
use crate::link::{LinkRole, ProviderLink};
use crate::session::Session;

/// What a new config means for links that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigChange {
    /// Nothing further.
    Taken,
    /// Every link depends on it: each is deleted and put again.
    Relink,
}

/// A capability that components reach through links.
///
/// The link calls are made one after the other for one link, and at once for different links. A
/// link that changes is deleted and put again; a put that equals the stored one is not repeated.
/// Each call has four and a half seconds, after which its future is dropped, as it is when the link goes away
/// meanwhile: a put must leave nothing behind when it fails or is dropped, so its effect on the
/// provider's own tables comes last.
#[async_trait]
pub trait Provider: Send + Sync + Sized + 'static {
    /// What the provider is called in logs, such as `http-server`.
    const NAME: &'static str;

    /// Makes the provider and serves its functions. Called once, before any link is put.
    ///
    /// # Errors
    ///
    /// [`StartError`] ends the run.
    async fn start(session: Session) -> Result<Arc<Self>, StartError>;

    /// Starts to call the component at the other end of the link.
    ///
    /// # Errors
    ///
    /// [`LinkError`]; one that may pass by itself is tried again with growing delays.
    async fn put_source_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        Err(LinkError::wrong_role::<Self>(link, LinkRole::Source))
    }

    /// Starts to serve the component at the other end of the link.
    ///
    /// # Errors
    ///
    /// [`LinkError`]; one that may pass by itself is tried again with growing delays.
    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        Err(LinkError::wrong_role::<Self>(link, LinkRole::Target))
    }

    /// Stops what [`Provider::put_source_link`] started: for a link that was put, and for one whose
    /// putting was broken off, since it took too long, panicked or is not wanted any more.
    async fn delete_source_link(&self, _link: &ProviderLink) {}

    /// Stops what [`Provider::put_target_link`] started, as [`Provider::delete_source_link`] does.
    async fn delete_target_link(&self, _link: &ProviderLink) {}

    /// Learns that a link with the provider as source is gone: it was deleted, and a moment has passed
    /// in which it was not put again. What the backend keeps for it is let go here, not in
    /// [`Provider::delete_source_link`], which comes before every change of a link. Also called for a
    /// link whose last put failed; not for one that goes while no process of the provider runs, nor for one
    /// that only this process shall do without.
    async fn forget_source_link(&self, _link: &ProviderLink) {}

    /// Learns that a link with the provider as target is gone, as [`Provider::forget_source_link`] does.
    /// Also called for one that was refused and never put: what the provider remembers of it by itself is
    /// let go here.
    async fn forget_target_link(&self, _link: &ProviderLink) {}

    /// What the backend behind a link that was put can do, whichever end of it the provider is. A
    /// link that requires more (see [`Features`]) is deleted again and refused by name, unless
    /// [`Provider::check_link`] says that the backend is not there at the moment. Of links with
    /// the provider as source only those are asked about that require something.
    async fn describe(&self, _link: &ProviderLink) -> Features {
        Features::new()
    }

    /// Looks whether the backend behind a link that was put is still there. Called every few
    /// seconds; the link has the state failed, with the reason, until it is there again. Calls
    /// go on meanwhile: that they fail by themselves is the business of the backend.
    ///
    /// # Errors
    ///
    /// [`LinkError`] says what is wrong with the backend.
    async fn check_link(&self, _link: &ProviderLink) -> Result<(), LinkError> {
        Ok(())
    }

    /// Takes a new config, which [`Session::config`] returns already, and says what it means for
    /// the links.
    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        ConfigChange::Taken
    }

    /// Learns that the provider's own secrets have changed; [`Session::secrets`] returns the new ones
    /// already. Settings of links may come from them, so that links are put again unless the
    /// provider knows better.
    async fn put_secrets(&self) -> ConfigChange {
        ConfigChange::Relink
    }

    /// Tells whether the provider can do its work. The state of links is added by the caller.
    async fn health(&self) -> HealthCheckResponse {
        HealthCheckResponse::healthy()
    }

    /// Finishes what is under way, by `until` at the latest. Served functions have stopped taking
    /// calls and are drained at the same time; links are not deleted one by one.
    async fn shutdown(&self, _until: Instant) {}
}
