//! Campaigning for a component that wants to lead.
//!
//! For each link with the provider as source there is one campaign: it waits for the lock that the
//! link names, tells the component that it is elected, keeps the lease alive, and tells the
//! component when the leadership is lost. Every copy of a provider campaigns, so that one takes over
//! from another that died; at most one of them has the lock.
//!
//! The leadership is given up when the component answers its election with an error or cannot be
//! reached, when the lease could not be renewed for so long that it might run out, when the link
//! goes, and when the provider ends. The component is told before the lock is released, so that it
//! has stopped when the next one begins; one that has never heard of its election has nothing to
//! stop. Where it does not answer, it may go on leading: then the lock is not released, and ends with
//! its time, up to which the component knows itself elected. A component that resigns by releasing
//! the lease itself is told too.

mod leadership;

use std::sync::Arc;
use std::time::Duration;

use lattice_rpc::{CallError, Reached, RemoteError};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::leadership::{End, Leadership, Trouble};
use super::backend::{Granted, Lease, LockError, Locks, millis};
use super::bindings::lattice::lock::leader;
use super::claim::{Claim, LockName};
use super::limits::Limits;
use super::link_locks::abandon;
use crate::Backoff;
use crate::describe::Features;
use crate::error::{LinkError, chain};
use crate::link::ProviderLink;
use crate::session::Session;
use crate::settings::{InvalidSetting, Settings};
use crate::{CallContext, Client, call_error};

/// How long one wait for the lock takes at most, before the next begins.
const WAIT: Duration = Duration::from_secs(30);
/// The pauses after a failure, or a leadership that was given up.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long the component may take to hear that it has lost.
const LOST_LIMIT: Duration = Duration::from_secs(2);
/// The failures of a component that was told something: it heard it, and is not at it any more.
const TOLD: [&str; 2] = [RemoteError::FAILED, RemoteError::INTERRUPTED];

/// What a component campaigns for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Election {
    /// The lock that makes a leader.
    pub place: LockName,
    /// How long a leadership lasts that is not kept.
    pub ttl: Duration,
    /// What the link allows.
    pub limits: Limits,
}

impl Election {
    /// Reads what a link says.
    ///
    /// # Errors
    ///
    /// [`LinkError::Invalid`] names the value.
    pub fn read(
        settings: &Settings,
        link: &ProviderLink,
        limits: &Limits,
    ) -> Result<Self, LinkError> {
        let name = settings.link_text("election").ok_or_else(|| {
            LinkError::from(InvalidSetting::Missing {
                key: "election".to_owned(),
                expected: "the name of the lock that makes a leader".to_owned(),
            })
        })?;
        let store = settings.link_text("store").unwrap_or_default();
        let place = LockName::read(store, name, link.name.as_str());
        let place = place.map_err(|e| LinkError::invalid(e.text()))?;
        let ttl = limits.usual;
        let limits = *limits;
        Ok(Self { place, ttl, limits })
    }
}

/// One campaign, until it is ended.
#[derive(Debug)]
pub(crate) struct Candidacy {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
    trouble: Arc<Trouble>,
    features: Features,
}

impl Candidacy {
    pub(crate) fn start<B: Locks>(
        session: &Session,
        link: &ProviderLink,
        locks: Arc<B>,
        election: Election,
    ) -> Self {
        let stop = CancellationToken::new();
        let trouble = Arc::new(Trouble::new(link.to_string()));
        let features = election.limits.told(locks.features());
        let candidate = Candidate {
            locks,
            election,
            owner: link.peer.to_string(),
            client: session.client_through(link),
            link_name: link.name.to_string(),
            link: link.to_string(),
            stop: stop.clone(),
            trouble: Arc::clone(&trouble),
        };
        let task = tokio::spawn(candidate.run());
        Self {
            stop,
            task: Some(task),
            trouble,
            features,
        }
    }

    /// What the backend can do.
    pub(crate) fn features(&self) -> Features {
        self.features.clone()
    }

    /// Whether the backend does its work.
    pub(crate) fn check(&self) -> Result<(), LinkError> {
        match self.trouble.what() {
            Some(why) => Err(LinkError::unavailable(why)),
            None => Ok(()),
        }
    }

    /// Resigns, and returns when the component was told and the lock is released, or left to its end.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take()
            && task.await.is_err()
        {
            tracing::error!("the task of a campaign panicked");
        }
    }
}

impl Drop for Candidacy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Candidate<B> {
    locks: Arc<B>,
    election: Election,
    owner: String,
    client: Client,
    link_name: String,
    /// What the link is called in logs.
    link: String,
    stop: CancellationToken,
    trouble: Arc<Trouble>,
}

/// What a component made of its election.
enum Told {
    Takes,
    Declines,
    /// It has not heard of it.
    Unreached,
    Unknown,
}

/// Whether a call that failed certainly did not come to the component.
fn is_unreached(error: &CallError) -> bool {
    match error.reached() {
        Reached::Never | Reached::Refused => true,
        Reached::Maybe | Reached::Ran => false,
    }
}

/// Whether a component that could not be told that it has lost leads no more: it is not there, or it
/// failed while it was told. How far the call came is not what counts: one that was interrupted leads no
/// more either, and one that was not reached may.
fn has_stopped(error: &CallError) -> bool {
    match error {
        CallError::NotServed { .. } => true,
        CallError::Remote(said) => TOLD.contains(&said.code.as_str()),
        _ => false,
    }
}

/// Whether an attempt that failed so may have taken effect.
fn may_have_taken(error: &LockError) -> bool {
    match error {
        LockError::AccessDenied | LockError::InvalidName(_) | LockError::InvalidTtl(_) => false,
        LockError::Held(_)
        | LockError::NotHeld
        | LockError::Unavailable(_)
        | LockError::Other(_) => true,
    }
}

impl<B: Locks> Candidate<B> {
    async fn run(self) {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        while !self.stop.is_cancelled() {
            let held = match self.win().await {
                Ok(Some(leadership)) => self.hold(leadership).await,
                Ok(None) => continue,
                Err(error) => {
                    self.trouble.note(Some(&error));
                    false
                }
            };
            if held {
                backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(backoff.delay()) => {}
            }
        }
    }

    /// Waits for the lock for a while.
    async fn win(&self) -> Result<Option<Leadership>, LockError> {
        let claim = Claim::new(self.election.place.clone(), &*self.owner)?;
        let asked = Instant::now();
        let wait = self.locks.acquire(&claim, self.election.ttl, asked + WAIT);
        let won = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            won = wait => Some(won),
        };
        match won {
            Some(Ok(granted)) => {
                self.trouble.note(None);
                // How long it took to get it is not known, so a renewal begins the leadership.
                let asked = Instant::now();
                match self.locks.renew(&claim, self.election.ttl).await {
                    Ok(kept) => {
                        let fence = granted.fence;
                        let kept = Granted { fence, ..kept };
                        Ok(Some(Leadership::new(claim, asked, kept)))
                    }
                    Err(error) => {
                        self.trouble.note(Some(&error));
                        self.give_back(&claim).await;
                        Err(error)
                    }
                }
            }
            Some(Err(LockError::Held(_))) => {
                self.trouble.note(None);
                Ok(None)
            }
            Some(Err(error)) => {
                // Before anything is given back, which takes a while.
                self.trouble.note(Some(&error));
                if may_have_taken(&error) {
                    self.forgo(&claim).await;
                }
                Err(error)
            }
            None => {
                self.forgo(&claim).await;
                Ok(None)
            }
        }
    }

    /// Leads until it ends; whether the component took the leadership.
    async fn hold(&self, mut leadership: Leadership) -> bool {
        let fence = leadership.fence;
        tracing::info!(link = self.link, fence, "elected");
        let lease = Lease {
            store: leadership.claim.place.store.clone(),
            name: leadership.claim.place.name.clone(),
            token: leadership.claim.token(),
            fence,
            ttl_ms: millis(leadership.ttl),
        };
        let mut elected = Box::pin(self.tell_elected(&lease, leadership.in_doubt()));
        // The lease is kept while the component makes up its mind.
        let end = tokio::select! {
            biased;
            end = self.keep(&mut leadership) => Err(end),
            taken = &mut elected => Ok(taken),
        };
        // A call that is under way still ends here: who takes office next is not to meet it.
        drop(elected);
        let (end, took) = match end {
            Ok(Told::Takes) => (self.keep(&mut leadership).await, true),
            Ok(Told::Declines | Told::Unreached) => (End::Declined, false),
            Ok(Told::Unknown) => (End::Unknown, false),
            Err(end) => (end, false),
        };
        tracing::info!(link = self.link, fence, "not elected any more");
        let has_stopped = match end {
            End::Declined => true,
            _ => self.tell_lost(&leadership).await,
        };
        if has_stopped && !matches!(end, End::Lost) {
            self.give_back(&leadership.claim).await;
        }
        took
    }

    async fn keep(&self, leadership: &mut Leadership) -> End {
        let (locks, ttl) = (&*self.locks, self.election.ttl);
        leadership.keep(locks, ttl, &self.stop, &self.trouble).await
    }

    async fn tell_elected(&self, lease: &Lease, deadline: Instant) -> Told {
        let cx = self.cx(deadline);
        let called = leader::on_elected(&self.client, cx, lease).await;
        let (told, why) = match called {
            Ok(Ok(())) => return Told::Takes,
            Ok(Err(why)) => (Told::Declines, why),
            Err(error) => {
                let error = call_error(error);
                let told = match is_unreached(&error) {
                    true => Told::Unreached,
                    false => Told::Unknown,
                };
                (told, chain(&error))
            }
        };
        let (link, name) = (&self.link, &lease.name);
        tracing::warn!(
            link,
            name,
            why,
            "the elected component does not take leadership"
        );
        told
    }

    /// Tells the component that it has lost; whether it leads no more, since it knows or is not there.
    async fn tell_lost(&self, leadership: &Leadership) -> bool {
        let cx = self.cx(Instant::now() + LOST_LIMIT);
        let name = &leadership.claim.place.name;
        let called = leader::on_lost(&self.client, cx, name, leadership.fence).await;
        let Err(error) = called.map_err(call_error) else {
            return true;
        };
        let (link, why) = (&self.link, chain(&error));
        tracing::warn!(
            link,
            name,
            why,
            "could not tell a component that it has lost"
        );
        has_stopped(&error)
    }

    fn cx(&self, deadline: Instant) -> CallContext {
        CallContext {
            deadline: Some(deadline),
            ..CallContext::through(&self.link_name)
        }
    }

    /// Releases the lock, as well as that can be done: it ends with its time otherwise.
    async fn give_back(&self, claim: &Claim) {
        match self.locks.release(claim).await {
            Ok(()) | Err(LockError::NotHeld) => {}
            Err(error) => {
                let (link, error) = (&self.link, error.text());
                tracing::warn!(link, error, "could not release the lock of a leader");
            }
        }
    }

    /// Releases what an attempt that failed or was broken off may have got.
    async fn forgo(&self, claim: &Claim) {
        abandon(&*self.locks, claim, false, &self.stop).await;
    }
}

#[cfg(test)]
mod tests;
