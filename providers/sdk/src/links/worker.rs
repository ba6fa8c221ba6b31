//! The task of one link.
//!
//! It looks at what is wanted now, not at the messages that led there, so that a burst of changes is
//! one change, calls for one link never overlap, and a refused link is tried again until it is taken,
//! changed or gone. Where the provider can, a changed link takes the place of the one that is served, which
//! goes on until then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lattice_core::link::LinkState;
use lattice_core::provider::LinkReport;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::callbacks::{self, CALLBACK_LIMIT, Refusal, Replaced, Taken};
use super::{Entry, Status, Wish};
use crate::Backoff;
use crate::describe;
use crate::error::LinkError;
use crate::link::{LinkKey, LinkRole, ProviderLink};
use crate::provider::Provider;
use crate::redact::redact;
use crate::session::Session;

/// How often a provider looks whether the backend of a link is still there: with
/// [`callbacks::CHECK_LIMIT`], one that goes away is told within five seconds.
const CHECK_EVERY: Duration = Duration::from_secs(2);
/// How long the component at the other end of a deleted link is still served: hosts learn of the
/// deletion a moment apart, and calls are on their way. As long, what a backend keeps for a deleted
/// link stays.
const LINGER: Duration = Duration::from_millis(1500);
/// How long the provider may take over a link that is gone when it ends itself: its host gives it 300 ms
/// in all.
const LAST_MOMENT: Duration = Duration::from_millis(150);
/// The first and the longest delay before a refused link is tried again.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(15);
/// Told of a link whose change is refused while it is served as it was.
const IN_FORCE: &str = "the settings from before are still in force";

/// A link that the provider has taken.
struct Put {
    link: Arc<ProviderLink>,
    /// None if something else was wanted before all was found out about it: then it is put once more.
    round: Option<u64>,
    /// What was wrong with it when it was last looked at.
    fault: Option<String>,
    /// When it ends, once it was deleted.
    ends: Option<Instant>,
}

impl Put {
    fn is(&self, wanted: &ProviderLink, round: u64) -> bool {
        self.round == Some(round) && *self.link == *wanted
    }
}

/// Brings one link to where it is wanted.
pub(super) struct Worker<P> {
    pub(super) key: LinkKey,
    pub(super) report: LinkReport,
    pub(super) session: Session,
    pub(super) provider: Arc<P>,
    pub(super) wishes: watch::Receiver<Wish>,
    pub(super) status: watch::Sender<Status>,
    pub(super) reports: mpsc::Sender<LinkReport>,
    pub(super) table: Arc<Mutex<HashMap<LinkKey, Entry>>>,
    /// The link as it was put last, of which the provider or its backend may keep something.
    pub(super) left: Option<Arc<ProviderLink>>,
}

impl<P: Provider> Worker<P> {
    /// Looks after the link until it is gone, or the provider ends.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let is_over = tokio::select! {
            biased;
            () = stop.cancelled() => false,
            () = self.accompany() => true,
        };
        let is_gone = {
            let wish = self.wishes.borrow();
            wish.link.is_none() && !wish.is_withdrawn
        };
        if !is_over && is_gone {
            self.let_go(LAST_MOMENT).await;
        }
    }

    async fn accompany(&mut self) {
        let mut put: Option<Put> = None;
        loop {
            let wish = self.wishes.borrow_and_update().clone();
            match (put.take(), wish.link) {
                (Some(now), Some(Ok(wanted))) if now.is(&wanted, wish.round) => {
                    put = Some(self.watch(wish.number, now).await);
                }
                (Some(now), Some(Ok(wanted))) if wanted.role == LinkRole::Source => {
                    put = self.change((wish.number, wish.round), now, wanted).await;
                }
                (Some(now), None) if now.link.role == LinkRole::Target => {
                    put = self.linger(wish.number, now).await;
                }
                (Some(now), _) => self.delete(&now.link).await,
                // Other processes go on with what the backend keeps; that the link is gone is told.
                (None, None) if wish.is_withdrawn && self.left.is_some() => {
                    self.settle(wish.number, LinkState::Pending, None);
                    self.changed().await;
                }
                (None, None) => {
                    if self.is_gone_for_good(wish.number).await && self.forget() {
                        return;
                    }
                }
                (None, Some(Err(reason))) => {
                    self.settle(wish.number, LinkState::Failed, Some(reason.to_string()));
                    self.changed().await;
                }
                (None, Some(Ok(wanted))) => {
                    let leaves = !describe::is_question(&wanted);
                    self.left = leaves.then(|| Arc::clone(&wanted));
                    put = self.bring_up((wish.number, wish.round), wanted).await;
                }
            }
        }
    }

    /// Goes on serving a deleted link for a short time, in which it may be put again: calls that left
    /// before the deletion was known reach it after it. Further deletions do not extend the time.
    async fn linger(&mut self, wish: u64, now: Put) -> Option<Put> {
        let ends = now.ends.unwrap_or_else(|| Instant::now() + LINGER);
        // Its state is news again if it is put again.
        self.settle(wish, LinkState::Pending, None);
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(ends) => {
                self.delete(&now.link).await;
                None
            }
            () = self.changed() => Some(Put { ends: Some(ends), ..now }),
        }
    }

    /// Has the provider let go of a deleted link for good, unless it is put again within a moment:
    /// links are deleted before they change, and by mistake.
    async fn is_gone_for_good(&mut self, wish: u64) -> bool {
        if self.left.is_some() {
            self.settle(wish, LinkState::Pending, None);
            tokio::select! {
                biased;
                () = self.changed() => return false,
                () = tokio::time::sleep(LINGER) => {}
            }
            self.let_go(callbacks::CALLBACK_LIMIT).await;
        }
        true
    }

    async fn let_go(&mut self, limit: Duration) {
        if let Some(link) = self.left.take()
            && !callbacks::forget(&*self.provider, &link, limit).await
        {
            tracing::warn!(%link, "the provider did not let go in time of what is kept for a link");
        }
    }

    /// Tells how the backend of a link does, until something else is wanted of the link.
    async fn watch(&mut self, wish: u64, now: Put) -> Put {
        let mut now = Put { ends: None, ..now };
        self.tell(wish, now.fault.clone());
        let provider = Arc::clone(&self.provider);
        let mut pauses = pauses();
        loop {
            let pause = pauses.delay();
            let check = async {
                tokio::time::sleep(pause).await;
                callbacks::check(&*provider, &now.link).await
            };
            let found = tokio::select! {
                biased;
                () = self.changed() => return now,
                found = check => found,
            };
            let fault = found.err();
            now.fault = fault.map(|error| self.reason(&error, &[&now.link]));
            self.tell(wish, now.fault.clone());
        }
    }

    /// Waits for another wish. The table holds the sender for as long as this task runs.
    async fn changed(&mut self) {
        if self.wishes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Puts the link, again and again if need be, until it is taken or something else is wanted.
    async fn bring_up(&mut self, wish: (u64, u64), link: Arc<ProviderLink>) -> Option<Put> {
        let (number, round) = wish;
        self.settle(number, LinkState::Pending, None);
        let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
        loop {
            let provider = Arc::clone(&self.provider);
            let attempt = callbacks::put(&*provider, &link);
            let refusal = tokio::select! {
                biased;
                taken = attempt => match taken {
                    Ok(taken) => return Some(self.taken((number, round), link, taken)),
                    Err(refusal) => refusal,
                },
                () = self.changed() => {
                    // What was begun is broken off, wherever it was.
                    self.take_back(&link, "broken off").await;
                    return None;
                }
            };
            // Told before the provider lets the link go, which may take its time as well.
            let Refusal { error, was_put } = refusal;
            self.tell(number, Some(self.reason(&error, &[&link])));
            if was_put {
                self.take_back(&link, "refused").await;
            }
            let pause = error.may_pass().then(|| backoff.delay());
            tokio::select! {
                () = after(pause) => {}
                () = self.changed() => return None,
            }
        }
    }

    /// Brings a link that is served to what it has become: the provider takes the new one in the place
    /// of the old, again and again if need be, and serves the old one until it does. If it cannot do
    /// that, the old one is deleted.
    async fn change(
        &mut self,
        wish: (u64, u64),
        now: Put,
        wanted: Arc<ProviderLink>,
    ) -> Option<Put> {
        let (number, _) = wish;
        self.settle(number, LinkState::Pending, None);
        let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
        loop {
            let provider = Arc::clone(&self.provider);
            let by = Instant::now() + CALLBACK_LIMIT;
            let attempt = callbacks::replace(&*provider, &now.link, &wanted, by);
            let replaced = tokio::select! {
                biased;
                replaced = attempt => replaced,
                // What was begun is broken off, and the old one is served still.
                () = self.changed() => return Some(now),
            };
            let error = match replaced {
                Replaced::Taken => {
                    self.session.roads().begin_anew(&self.key);
                    return self.look(wish, wanted, by).await;
                }
                Replaced::Not => {
                    self.delete(&now.link).await;
                    return None;
                }
                Replaced::Kept(error) => error,
            };
            let reason = self.reason(&error, &[&wanted, &now.link]);
            self.tell(number, Some(format!("{reason}; {IN_FORCE}")));
            let pause = error.may_pass().then(|| backoff.delay());
            tokio::select! {
                biased;
                () = self.changed() => return Some(now),
                () = after(pause) => {}
                () = look_after(&*provider, &now.link) => {}
            }
        }
    }

    /// Finds out what there is to know of a link that has taken the place of another.
    async fn look(
        &mut self,
        wish: (u64, u64),
        link: Arc<ProviderLink>,
        by: Instant,
    ) -> Option<Put> {
        self.left = Some(Arc::clone(&link));
        let provider = Arc::clone(&self.provider);
        let looked = tokio::select! {
            biased;
            looked = callbacks::look(&*provider, &link, by) => looked,
            () = self.changed() => return Some(Put {
                link,
                round: None,
                fault: None,
                ends: None,
            }),
        };
        match looked {
            Ok(taken) => Some(self.taken(wish, link, taken)),
            Err(Refusal { error, .. }) => {
                self.tell(wish.0, Some(self.reason(&error, &[&link])));
                self.delete(&link).await;
                None
            }
        }
    }

    /// Takes down what is known of a link that the provider has taken.
    fn taken(&self, wish: (u64, u64), link: Arc<ProviderLink>, taken: Taken) -> Put {
        let (number, round) = wish;
        if !describe::is_question(&link) {
            self.session.described().put(&self.key, taken.features);
        }
        let fault = taken.fault;
        let fault = fault.map(|error| self.reason(&error, &[&link]));
        self.tell(number, fault.clone());
        Put {
            link,
            round: Some(round),
            fault,
            ends: None,
        }
    }

    /// Has the provider forget what it may have of a link that is not put.
    async fn take_back(&self, link: &ProviderLink, why: &str) {
        if !describe::is_question(link) && !callbacks::delete(&*self.provider, link).await {
            tracing::error!(%link, why, "the provider did not let go of a link in time");
        }
    }

    async fn delete(&self, link: &ProviderLink) {
        self.session.described().forget(&self.key);
        if describe::is_question(link) {
            return;
        }
        match callbacks::delete(&*self.provider, link).await {
            true => tracing::info!(%link, "deleted"),
            false => tracing::error!(%link, "the provider did not delete a link in time"),
        }
        // Nothing calls through it any more, and the next link of the same ends comes after this.
        self.session.roads().forget(&self.key);
    }

    /// Why something went wrong, in words without the secrets of the links that it is about.
    fn reason(&self, error: &LinkError, links: &[&ProviderLink]) -> String {
        let own = self.session.secrets();
        let secrets = links.iter().map(|link| &link.secrets).chain([&*own]);
        redact(error.reason(), &secrets.collect::<Vec<_>>())
    }

    /// Notes that a link is ready, or has failed.
    fn tell(&self, wish: u64, fault: Option<String>) {
        let state = match fault {
            None => LinkState::Ready,
            Some(_) => LinkState::Failed,
        };
        self.settle(wish, state, fault);
    }

    /// Notes a state, logs and reports it if it is news.
    fn settle(&self, wish: u64, state: LinkState, reason: Option<String>) {
        let status = Status {
            state,
            reason,
            wish,
        };
        let before = self.status.send_replace(status.clone());
        let news = before.state != state || before.reason != status.reason;
        if !news || state == LinkState::Pending {
            return;
        }
        let (source, target) = (&self.report.source_id, &self.report.target);
        let name = &self.report.name;
        match &status.reason {
            Some(reason) => tracing::warn!(source, target, name, reason, "link failed"),
            None => tracing::info!(source, target, name, "link ready"),
        }
        let report = LinkReport {
            state,
            reason: status.reason,
            ..self.report.clone()
        };
        if self.reports.try_send(report).is_err() {
            tracing::debug!("dropped a link report: too many are waiting");
        }
    }

    /// Leaves the table, unless the link was put again meanwhile.
    fn forget(&self) -> bool {
        let mut table = self.table.lock();
        if self.wishes.borrow().link.is_some() {
            return false;
        }
        table.remove(&self.key);
        true
    }
}

/// The pauses between two looks at a backend: spread, so that links that were put at once are not all
/// looked at in the same moment.
fn pauses() -> Backoff {
    Backoff::new(CHECK_EVERY, CHECK_EVERY)
}

/// Waits, without an end if there is no pause.
async fn after(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

/// Looks after the backend of a link that is served while its state is about something else, without an
/// end.
async fn look_after<P: Provider>(provider: &P, link: &ProviderLink) {
    let mut pauses = pauses();
    loop {
        tokio::time::sleep(pauses.delay()).await;
        if callbacks::check(provider, link).await.is_err() {
            tracing::debug!(%link, "the backend of a link does not do well");
        }
    }
}
