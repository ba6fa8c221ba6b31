//! What a provider implements.

use std::sync::Arc;

use async_trait::async_trait;
use lattice_core::StringMap;
use lattice_core::provider::HealthCheckResponse;
use tokio::time::Instant;

use crate::describe::Features;
use crate::error::{LinkError, StartError};
use crate::link::{LinkKey, LinkRole, ProviderLink};
use crate::session::Session;

/// What a change means for links that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigChange {
    /// Nothing further.
    Taken,
    /// Links depend on it. A new config or new secrets of the provider: each link is put again, as one that
    /// changes is. A change of one link: it is deleted and put again.
    Relink,
}

/// A capability that components reach through links.
///
/// The link calls are made one after the other for one link, and at once for different links. A
/// link that changes is deleted and put again, unless the provider can take the new one in the place of the
/// old (see [`Provider::replace_source_link`]); a put that equals the stored one is not repeated.
/// Each call has four and a half seconds, after which its future is dropped, as it is when the link goes away
/// meanwhile: a put must leave nothing behind when it fails or is dropped, so its effect on the
/// provider's own tables comes last.
#[async_trait]
pub trait Provider: Send + Sync + Sized + 'static {
    /// What the provider is called in logs, such as `http-server`.
    const NAME: &'static str;

    /// Whether a link is looked at as soon as it is taken, by [`Provider::check_link`] and before its
    /// state is told: for a provider that takes links which it cannot serve yet.
    const LOOKS_AT_ONCE: bool = false;

    /// Makes the provider and serves its functions. Called once, before any link is put.
    ///
    /// # Errors
    ///
    /// [`StartError`] ends the run.
    async fn start(session: Session) -> Result<Arc<Self>, StartError>;

    /// Learns that a link is there, before it is put, and once more if it comes back after it was deleted;
    /// not of its changes. Links are put side by side, each in its own time; here they come in the order in
    /// which the host tells of them, which is that in which they were put in the lattice: for a provider of
    /// which several links may want the same thing. Must return at once.
    fn link_comes(&self, _link: &LinkKey) {}

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

    /// Takes a changed link in the place of the one that is served, if it can: calls are made all the
    /// while, and a mistake in a config stops nothing that works. With an error the old one stays in
    /// force, the link has failed with a reason that says so, and [`Provider::check_link`] goes on
    /// with the old one. The two may be equal, when the provider's own config or secrets have changed.
    ///
    /// A replacement that fails or is dropped must have changed nothing, so it changes the provider's own tables
    /// last and waits for nothing after that. What the link requires is looked at afterwards, and if it
    /// is not met the link is deleted: a provider that knows before refuses such a link here. Counts of
    /// calls go on.
    ///
    /// [`ConfigChange::Relink`], which is what a provider says that does not implement this, has the link
    /// deleted and put again.
    ///
    /// # Errors
    ///
    /// [`LinkError`]; one that may pass by itself is tried again with growing delays.
    async fn replace_source_link(
        &self,
        _old: &ProviderLink,
        _new: &ProviderLink,
    ) -> Result<ConfigChange, LinkError> {
        Ok(ConfigChange::Relink)
    }

    /// Stops what [`Provider::put_source_link`] started: for a link that was put, and for one whose
    /// putting was broken off, since it took too long, panicked or is not wanted any more.
    async fn delete_source_link(&self, _link: &ProviderLink) {}

    /// Stops what [`Provider::put_target_link`] started, as [`Provider::delete_source_link`] does.
    async fn delete_target_link(&self, _link: &ProviderLink) {}

    /// Learns that a link with the provider as source is gone: it was deleted, and a moment has passed
    /// in which it was not put again. What the backend keeps for it is let go here, not in
    /// [`Provider::delete_source_link`], which may come before a change of a link. Also called for a
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
