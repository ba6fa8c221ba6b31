//! The links of one provider: what is wanted of each, and the task that brings it about.
//!
//! A link has one task, its [`Worker`]. Here is what it is told, and what it tells.

mod callbacks;
mod worker;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lattice_core::link::LinkState;
use lattice_core::provider::{LinkReport, SecretMap};
use lattice_core::road::RoadTally;
use lattice_core::{ComponentId, ResolvedLink};
use lattice_rpc::throttle::KeyedThrottle;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::callbacks::caught;
use self::worker::Worker;
use crate::complaint;
use crate::error::LinkError;
use crate::link::{self, LinkKey, LinkRole, ProviderLink, Unsealer};
use crate::provider::Provider;
use crate::session::Session;

/// The most links of one provider; a bound against a host that runs wild.
const MAX_LINKS: usize = 65_536;
/// Reports that wait to be published; a full queue loses one, and health answers repeat them.
const REPORTS: usize = 1024;
/// How many links that cannot be read are kept apart in the log at the same time.
const MAX_UNREADABLE: usize = 256;

/// Those that were told of lately, of all providers in this process. They are apart from other complaints,
/// since whoever sends them can have as many as they like.
static UNREADABLE: Mutex<Option<KeyedThrottle<u64, ()>>> = Mutex::new(None);

/// How far a link is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    state: LinkState,
    reason: Option<String>,
    /// Which wish the state belongs to.
    wish: u64,
}

/// What is wanted of a link.
#[derive(Debug, Clone)]
struct Wish {
    number: u64,
    /// Grows when the link shall be put again although it did not change.
    round: u64,
    /// The link, or what is wrong with it; `None` when it shall go.
    link: Option<Result<Arc<ProviderLink>, Arc<str>>>,
    /// A link that shall go is still one of the lattice: only this process does without it.
    is_withdrawn: bool,
}

impl Wish {
    /// Has the link go. One that was deleted for all stays so: that this process shall do without it
    /// may come after that.
    fn go(&mut self, is_withdrawn: bool) {
        self.number += 1;
        self.is_withdrawn = is_withdrawn && (self.link.is_some() || self.is_withdrawn);
        self.link = None;
    }
}

#[derive(Debug)]
struct Entry {
    wish: watch::Sender<Wish>,
    status: watch::Receiver<Status>,
}

/// The links of one provider.
#[derive(Debug)]
pub(crate) struct Links<P> {
    session: Session,
    provider: Arc<P>,
    unsealer: Option<Unsealer>,
    table: Arc<Mutex<HashMap<LinkKey, Entry>>>,
    reports: mpsc::Sender<LinkReport>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl<P: Provider> Links<P> {
    /// An empty table, and the reports that are to be published.
    pub(crate) fn new(
        session: Session,
        provider: Arc<P>,
        unsealer: Option<Unsealer>,
    ) -> (Self, mpsc::Receiver<LinkReport>) {
        let (reports, queue) = mpsc::channel(REPORTS);
        let links = Self {
            session,
            provider,
            unsealer,
            table: Arc::default(),
            reports,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        (links, queue)
    }

    /// Takes in a link that was put. The pending answer tells what became of it.
    ///
    /// # Errors
    ///
    /// The link cannot even be named.
    pub(crate) fn put(&self, message: ResolvedLink) -> Result<Outcome, LinkError> {
        let named = report_of(&message, self.session.host_id());
        let arrived = match link::read(self.session.id(), self.unsealer.as_ref(), message) {
            Ok(arrived) => arrived,
            Err(error) => {
                let reason = error.reason();
                if let Some(untold) = turn_of("link put", self.session.id(), &named) {
                    let (reason, link) = (complaint::clipped(&reason), told(&named));
                    tracing::error!(link, reason, untold, "cannot take in a link");
                }
                self.report(LinkReport {
                    state: LinkState::Failed,
                    reason: Some(reason),
                    ..named
                });
                return Err(error);
            }
        };
        let link = arrived.link.map(Arc::new).map_err(|e| e.reason().into());
        self.wish(arrived.key, link)
    }

    /// Opens secrets of the provider itself.
    ///
    /// # Errors
    ///
    /// They were not sealed for this process, or it has no key.
    pub(crate) fn open_secrets(&self, sealed: &[u8]) -> Result<SecretMap, LinkError> {
        match &self.unsealer {
            Some(unsealer) => unsealer.open(sealed),
            None => Err(LinkError::invalid("the host gave the provider no key")),
        }
    }

    fn wish(
        &self,
        key: LinkKey,
        link: Result<Arc<ProviderLink>, Arc<str>>,
    ) -> Result<Outcome, LinkError> {
        let mut table = self.table.lock();
        if let Some(entry) = table.get(&key) {
            // Before its task may see it.
            if entry.wish.borrow().link.is_none() {
                self.comes(&key);
            }
            let mut number = 0;
            entry.wish.send_if_modified(|wish| {
                let same = wish.link.as_ref() == Some(&link);
                if !same {
                    wish.number += 1;
                    wish.link = Some(link);
                    wish.is_withdrawn = false;
                }
                number = wish.number;
                !same
            });
            return Ok(Outcome {
                status: entry.status.clone(),
                wish: number,
            });
        }
        if table.len() >= MAX_LINKS {
            return Err(LinkError::unavailable(format!(
                "the provider has {MAX_LINKS} links already"
            )));
        }
        self.comes(&key);
        let (entry, outcome) = self.begin(&key, link);
        table.insert(key, entry);
        Ok(outcome)
    }

    /// Tells the provider of a link that is about to be put. A panic ends neither the provider nor the
    /// messages that follow.
    fn comes(&self, key: &LinkKey) {
        let told = catch_unwind(AssertUnwindSafe(|| self.provider.link_comes(key)));
        if told.is_err() {
            tracing::error!(peer = %key.peer, "the provider panicked over a link that comes");
        }
    }

    fn begin(&self, key: &LinkKey, link: Result<Arc<ProviderLink>, Arc<str>>) -> (Entry, Outcome) {
        let first = Wish {
            number: 1,
            round: 0,
            link: Some(link),
            is_withdrawn: false,
        };
        let pending = Status {
            state: LinkState::Pending,
            reason: None,
            wish: 1,
        };
        let (wish, wishes) = watch::channel(first);
        let (status, seen) = watch::channel(pending);
        let worker = Worker {
            key: key.clone(),
            report: report_for(key, self.session.id(), self.session.host_id()),
            session: self.session.clone(),
            provider: Arc::clone(&self.provider),
            wishes,
            status,
            reports: self.reports.clone(),
            table: Arc::clone(&self.table),
            left: None,
        };
        self.tasks.spawn(worker.run(self.stop.clone()));
        let entry = Entry {
            wish,
            status: seen.clone(),
        };
        let outcome = Outcome {
            status: seen,
            wish: 1,
        };
        (entry, outcome)
    }

    /// Takes in that a link is gone.
    pub(crate) fn delete(&self, message: ResolvedLink) {
        self.let_go(message, false);
    }

    /// Takes in that this process shall do without a link that others go on with.
    pub(crate) fn withdraw(&self, message: ResolvedLink) {
        self.let_go(message, true);
    }

    fn let_go(&self, message: ResolvedLink, is_withdrawn: bool) {
        let named = report_of(&message, self.session.host_id());
        let key = match link::read(self.session.id(), None, message) {
            Ok(arrived) => arrived.key,
            Err(error) => {
                if let Some(untold) = turn_of("link delete", self.session.id(), &named) {
                    let (reason, link) = (complaint::clipped(&error.reason()), told(&named));
                    tracing::error!(link, reason, untold, "cannot delete a link");
                }
                return;
            }
        };
        if let Some(entry) = self.table.lock().get(&key) {
            entry.wish.send_modify(|wish| wish.go(is_withdrawn));
        }
    }

    /// Has every link put again, as if it had changed.
    pub(crate) fn put_again(&self) {
        for entry in self.table.lock().values() {
            entry.wish.send_modify(|wish| {
                wish.number += 1;
                wish.round += 1;
            });
        }
    }

    /// The state of every link.
    pub(crate) fn reports(&self) -> Vec<LinkReport> {
        let table = self.table.lock();
        table
            .iter()
            .filter(|(_, entry)| entry.wish.borrow().link.is_some())
            .map(|(key, entry)| {
                let status = entry.status.borrow();
                LinkReport {
                    state: status.state,
                    reason: status.reason.clone(),
                    roads: self.session.roads().tally(key),
                    ..report_for(key, self.session.id(), self.session.host_id())
                }
            })
            .collect()
    }

    fn report(&self, report: LinkReport) {
        if self.reports.try_send(report).is_err() {
            tracing::debug!("dropped a link report: too many are waiting");
        }
    }

    /// Ends the tasks of all links, without deleting the links.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// What becomes of a link that was put.
#[derive(Debug)]
pub(crate) struct Outcome {
    status: watch::Receiver<Status>,
    wish: u64,
}

impl Outcome {
    /// Waits until the provider took or refused the link: `None` when it is gone or too much time
    /// passes, else the reason of the refusal, if it was one.
    pub(crate) async fn known(mut self, by: Instant) -> Option<Result<(), String>> {
        let wish = self.wish;
        let known = self
            .status
            .wait_for(|status| status.wish >= wish && status.state != LinkState::Pending);
        let status = tokio::time::timeout_at(by, known).await.ok()?.ok()?.clone();
        Some(match status.state {
            LinkState::Failed => Err(status.reason.unwrap_or_default()),
            _ => Ok(()),
        })
    }
}

fn report_of(link: &ResolvedLink, host_id: &str) -> LinkReport {
    LinkReport {
        source_id: link.source_id.clone(),
        target: link.target.clone(),
        name: link.name.clone(),
        wit_namespace: link.wit_namespace.clone(),
        wit_package: link.wit_package.clone(),
        state: LinkState::Pending,
        reason: None,
        host_id: host_id.to_owned(),
        roads: RoadTally::default(),
    }
}

/// Whether the log is to be told of a link that cannot be read: each is a kind of its own, since
/// providers share the log.
fn turn_of(what: &str, own: &ComponentId, link: &LinkReport) -> Option<u64> {
    let interfaces = (&*link.wit_namespace, &*link.wit_package);
    let ends = (&*link.source_id, &*link.target);
    let mut hasher = DefaultHasher::new();
    (what, own.as_str(), ends, interfaces, &*link.name).hash(&mut hasher);
    let (mut lately, now) = (UNREADABLE.lock(), Instant::now());
    let lately = lately.get_or_insert_with(|| KeyedThrottle::new(MAX_UNREADABLE));
    if lately.is_full() {
        lately.forget_quiet(now);
    }
    let turn = lately.note(hasher.finish(), (), 0, now);
    turn.map(|((), untold)| untold)
}

/// What a link that cannot be read is called in the log.
fn told(link: &LinkReport) -> String {
    let (source, target, name) = (&link.source_id, &link.target, &link.name);
    let (namespace, package) = (&link.wit_namespace, &link.wit_package);
    complaint::clipped(&format_args!(
        "`{name}` from `{source}` to `{target}` for `{namespace}:{package}`"
    ))
}

fn report_for(key: &LinkKey, own: &ComponentId, host_id: &str) -> LinkReport {
    let (source, target) = match key.role {
        LinkRole::Source => (own, &key.peer),
        LinkRole::Target => (&key.peer, own),
    };
    LinkReport {
        source_id: source.to_string(),
        target: target.to_string(),
        name: key.name.to_string(),
        wit_namespace: key.namespace.to_string(),
        wit_package: key.package.to_string(),
        state: LinkState::Pending,
        reason: None,
        host_id: host_id.to_owned(),
        roads: RoadTally::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> LinkReport {
        LinkReport {
            source_id: "cart".to_owned(),
            target: "store".to_owned(),
            name: name.to_owned(),
            wit_namespace: "wasi".to_owned(),
            wit_package: "keyvalue".to_owned(),
            state: LinkState::Pending,
            reason: None,
            host_id: "N0".to_owned(),
            roads: RoadTally::default(),
        }
    }

    #[test]
    fn a_link_that_was_deleted_for_all_stays_so_when_it_is_withdrawn() {
        let mut wish = Wish {
            number: 1,
            round: 0,
            link: Some(Err("a link of a test".into())),
            is_withdrawn: false,
        };
        for (is_withdrawn, expected) in [(true, true), (true, true), (false, false), (true, false)]
        {
            wish.go(is_withdrawn);
            assert_eq!(wish.is_withdrawn, expected);
            assert!(wish.link.is_none());
        }
        assert_eq!(wish.number, 5);
        // Until it is put again.
        wish.link = Some(Err("a link of a test".into()));
        wish.go(true);
        assert!(wish.is_withdrawn);
    }

    #[test]
    fn the_log_is_told_of_each_link_that_cannot_be_read_and_of_other_things_besides() {
        let [own, other] = ["cart", "store"].map(|id| ComponentId::new(id).unwrap());
        let what = "a link of a test";
        let turn = |own: &ComponentId, name: &str| turn_of(what, own, &named(name)).is_some();
        assert!(turn(&own, "a b") && turn(&own, "c d") && turn(&other, "a b"));
        assert!(!turn(&own, "a b"));
        // However many there are of them.
        for number in 0..2 * MAX_UNREADABLE {
            turn(&own, &number.to_string());
        }
        assert!(complaint::turn(&"what links of a test leave room for").is_some());
        let text = told(&named("a b"));
        assert_eq!(text, "`a b` from `cart` to `store` for `wasi:keyvalue`");
        assert!(told(&named(&"x".repeat(10_000))).len() < 1000);
    }
}
