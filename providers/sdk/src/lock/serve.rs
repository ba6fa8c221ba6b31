//! The generated bindings in front of the desks.

use std::collections::HashMap;
use std::sync::Arc;

use lattice_rpc::Context;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::backend::{Holder, Lease, LockError, Locks};
use super::bindings;
use super::bindings::exports::lattice::lock::lock::{self, Handler as _};
use super::leader::{Candidacy, Election};
use super::limits::Limits;
use super::link_locks::{Ask, LinkLocks};
use crate::backends::Backends;
use crate::complaint;
use crate::describe::Features;
use crate::error::{LinkError, ServeError};
use crate::link::{LinkKey, LinkRole, ProviderLink};
use crate::session::Session;
use crate::wire::answered;

const LOCK: &str = "lattice:lock/lock@0.1.0";

/// All that a lock provider does for its links.
#[derive(Debug)]
pub struct LockLinks<B> {
    session: Session,
    backends: Arc<Backends<LinkLocks<B>>>,
    table: Mutex<HashMap<LinkKey, Arc<LinkLocks<B>>>>,
    candidacies: Mutex<HashMap<LinkKey, Candidacy>>,
}

impl<B: Locks> LockLinks<B> {
    /// Serves `lattice:lock/lock` until the provider stops.
    ///
    /// # Errors
    ///
    /// [`ServeError`] when NATS refuses.
    pub async fn serve(session: &Session) -> Result<Self, ServeError> {
        let backends = Arc::new(Backends::new());
        let linked = Linked(Arc::clone(&backends));
        let server = answered! { session.server(), linked;
            LOCK "acquire" acquire(store: String, name: String, ttl_ms: u32, wait_ms: u32);
            LOCK "renew" renew(store: String, token: String, ttl_ms: u32);
            LOCK "release" release(store: String, token: String);
            LOCK "inspect" inspect(store: String, name: String);
        };
        let functions = bindings::serve(&server, linked)
            .await
            .map_err(|e| ServeError::Bindings(e.into()))?;
        server.drive(functions).await?;
        Ok(Self {
            session: session.clone(),
            backends,
            table: Mutex::default(),
            candidacies: Mutex::default(),
        })
    }

    /// Refuses a link that is for something else.
    ///
    /// # Errors
    ///
    /// [`LinkError::Invalid`] says what is served.
    pub fn check_package(&self, link: &ProviderLink) -> Result<(), LinkError> {
        // Components of the latter are translated by their host. It has nothing for leaders.
        let is_target = link.role == LinkRole::Target;
        if link.is_for("lattice", "lock") || (is_target && link.is_for("wasi", "distributed-lock"))
        {
            return Ok(());
        }
        let also = match is_target {
            true => " and wasi:distributed-lock",
            false => "",
        };
        Err(LinkError::invalid(format!(
            "a provider of locks cannot take a link for {}:{}, only for lattice:lock{also}",
            link.namespace, link.package
        )))
    }

    /// Serves the component at the other end of a link.
    pub fn put(&self, link: &ProviderLink, locks: B, limits: Limits) {
        let link_locks = Arc::new(LinkLocks::new(locks, limits, link.name.as_str()));
        self.table
            .lock()
            .insert(link.key(), Arc::clone(&link_locks));
        self.backends.put(link, link_locks);
    }

    /// Stops serving the component at the other end of a link; calls that wait fail.
    pub fn delete(&self, link: &ProviderLink) {
        self.backends.delete(link);
        if let Some(link_locks) = self.table.lock().remove(&link.key()) {
            link_locks.close();
        }
    }

    /// Campaigns for the component at the other end of a link.
    pub fn campaign(&self, link: &ProviderLink, locks: B, election: Election) {
        let campaign = Candidacy::start(&self.session, link, Arc::new(locks), election);
        self.candidacies.lock().insert(link.key(), campaign);
    }

    /// Resigns for the component at the other end of a link, and tells it so.
    pub async fn resign(&self, link: &ProviderLink) {
        let campaign = self.candidacies.lock().remove(&link.key());
        if let Some(campaign) = campaign {
            campaign.end().await;
        }
    }

    /// Resigns everywhere and gives up what is being acquired, by `until` at the latest.
    pub async fn shutdown(&self, until: Instant) {
        let desks: Vec<_> = self.table.lock().values().map(Arc::clone).collect();
        desks.iter().for_each(|link_locks| link_locks.close());
        let finished = desks.iter().map(|link_locks| link_locks.finished());
        let candidacies = std::mem::take(&mut *self.candidacies.lock());
        let ended = candidacies.into_values().map(Candidacy::end);
        let (finished, ended) = (
            futures::future::join_all(finished),
            futures::future::join_all(ended),
        );
        let all = futures::future::join(finished, ended);
        if tokio::time::timeout_at(until, all).await.is_err() {
            tracing::warn!("not all locks could be given up in time; their leases run out");
        }
    }

    /// What the backend of a link can do.
    #[must_use]
    pub fn describe(&self, link: &ProviderLink) -> Features {
        let Some(link_locks) = self.of(link) else {
            let candidacies = self.candidacies.lock();
            let campaign = candidacies.get(&link.key());
            return campaign.map_or_else(Features::new, Candidacy::features);
        };
        link_locks.limits.told(link_locks.backend.features())
    }

    /// Looks whether the backend of a link is there.
    ///
    /// # Errors
    ///
    /// [`LinkError`] says what is wrong with it.
    pub async fn check(&self, link: &ProviderLink) -> Result<(), LinkError> {
        match (link.role, self.of(link)) {
            (LinkRole::Target, Some(link_locks)) => link_locks.backend.check().await,
            (LinkRole::Target, None) => Ok(()),
            (LinkRole::Source, _) => match self.candidacies.lock().get(&link.key()) {
                Some(campaign) => campaign.check(),
                None => Ok(()),
            },
        }
    }

    fn of(&self, link: &ProviderLink) -> Option<Arc<LinkLocks<B>>> {
        self.table.lock().get(&link.key()).map(Arc::clone)
    }
}

/// Answers each call with the link_locks that its link names.
struct Linked<B>(Arc<Backends<LinkLocks<B>>>);

impl<B> Clone for Linked<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> Linked<B> {
    async fn of(&self, cx: &Context) -> Result<Arc<LinkLocks<B>>, LockError> {
        let link_locks = self.0.of(cx).await;
        link_locks.map_err(|e| LockError::unavailable(e.to_string()))
    }
}

/// Who calls. A lock without an owner would be anybody's.
fn owner(cx: &Context) -> Result<String, LockError> {
    let source = cx.source_id.as_deref();
    source.map(str::to_owned).ok_or(LockError::AccessDenied)
}

/// The outer error would fail the call; everything that can go wrong here is a value instead.
type Answer<T> = anyhow::Result<Result<T, LockError>>;

fn answer<T>(function: &str, cx: &Context, done: Result<T, LockError>) -> Answer<T> {
    if let Err(error) = &done
        && !error.is_usual()
    {
        complaint::warn("a call for a lock failed", cx, function, &error.text());
    }
    Ok(done)
}

impl<B: Locks> lock::Handler<Context> for Linked<B> {
    async fn acquire(
        &self,
        cx: Context,
        store: String,
        name: String,
        ttl_ms: u32,
        wait_ms: u32,
    ) -> Answer<Lease> {
        let work = async {
            let ask = Ask {
                store,
                name,
                ttl_ms,
                wait_ms,
                owner: owner(&cx)?,
                deadline: cx.deadline,
            };
            self.of(&cx).await?.acquire(ask).await
        };
        answer("acquire", &cx, work.await)
    }

    async fn renew(&self, cx: Context, store: String, token: String, ttl_ms: u32) -> Answer<Lease> {
        let work = async {
            let link_locks = self.of(&cx).await?;
            link_locks.renew(store, token, ttl_ms, owner(&cx)?).await
        };
        answer("renew", &cx, work.await)
    }

    async fn release(&self, cx: Context, store: String, token: String) -> Answer<()> {
        let work = async {
            let link_locks = self.of(&cx).await?;
            link_locks.release(&store, &token, owner(&cx)?).await
        };
        answer("release", &cx, work.await)
    }

    async fn inspect(&self, cx: Context, store: String, name: String) -> Answer<Option<Holder>> {
        let work = async { self.of(&cx).await?.inspect(&store, &name).await };
        answer("inspect", &cx, work.await)
    }
}
