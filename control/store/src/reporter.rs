//! Writes the link states of one host in the background.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lattice_core::link::LinkState;
use lattice_core::{Backoff, ComponentId, HostId, LinkKey, LinkStatus, Spread};
use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::error::StoreError;
use crate::status::StatusStore;

/// Pauses after a write that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How often the connection is checked for having been made anew.
const CONNECTION_CHECK: Duration = Duration::from_secs(1);
/// How often the bucket is checked for being the same one; in connection checks.
const BUCKET_CHECK_EVERY: u32 = 15;

/// What an end of a link is called in the table.
type End = (LinkKey, ComponentId);

/// What is to be stored about an end.
#[derive(Debug, Clone)]
struct Entry {
    /// `None` when the record is to be removed.
    state: Option<(LinkState, Option<String>)>,
    written: bool,
    /// Grows with each change, so that a write under way does not hide a later one.
    version: u64,
}

#[derive(Debug)]
struct Shared {
    store: StatusStore,
    host: HostId,
    entries: Mutex<HashMap<End, Entry>>,
    changed: Notify,
    /// Told when there is nothing left to write.
    settled: Notify,
}

/// Reports how far the links of this host's providers have come.
///
/// Reporting does not wait and does not fail: the states are kept here and a task writes them,
/// again after failures, when the bucket was lost, and from time to time so that they do not age out of
/// it. What a former process of the host has left there is removed.
#[derive(Debug)]
pub struct StatusReporter {
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

impl StatusReporter {
    pub(crate) fn start(store: StatusStore, host: HostId, refresh: Duration) -> Self {
        let shared = Arc::new(Shared {
            store,
            host,
            entries: Mutex::default(),
            changed: Notify::new(),
            settled: Notify::new(),
        });
        let task = tokio::spawn(run(Arc::clone(&shared), refresh));
        Self {
            shared,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Reports the state of a link at one of its ends; `reason` says why it failed.
    pub fn report(
        &self,
        link: &LinkKey,
        endpoint: &ComponentId,
        state: LinkState,
        reason: Option<String>,
    ) {
        self.set((link.clone(), endpoint.clone()), Some((state, reason)));
    }

    /// Removes what was reported about a link, because the link is gone.
    pub fn forget_link(&self, link: &LinkKey) {
        self.forget_where(|(known, _)| known == link);
    }

    /// Removes what was reported about a link at one end, because that end no longer has it.
    pub fn forget(&self, link: &LinkKey, endpoint: &ComponentId) {
        self.forget_where(|(known, end)| known == link && end == endpoint);
    }

    /// Removes what was reported for a provider, because it no longer runs here.
    pub fn forget_endpoint(&self, endpoint: &ComponentId) {
        self.forget_where(|(_, known)| known == endpoint);
    }

    /// Removes everything this host reported and waits until that is written, for an orderly stop.
    ///
    /// Gives up after `deadline`; the records then age out.
    pub async fn clear(&self, deadline: Duration) {
        self.forget_where(|_| true);
        if timeout(deadline, self.settled()).await.is_err() {
            tracing::warn!("could not remove the link states of this host in time");
        }
    }

    /// Waits until everything reported so far is written.
    pub async fn settled(&self) {
        loop {
            let settled = self.shared.settled.notified();
            if self.shared.unwritten().is_empty() {
                return;
            }
            settled.await;
        }
    }

    fn forget_where(&self, matches: impl Fn(&End) -> bool) {
        let ends: Vec<End> = self
            .shared
            .entries
            .lock()
            .keys()
            .filter(|end| matches(end))
            .cloned()
            .collect();
        for end in ends {
            self.set(end, None);
        }
    }

    fn set(&self, end: End, state: Option<(LinkState, Option<String>)>) {
        let mut entries = self.shared.entries.lock();
        let version = match entries.get(&end) {
            Some(entry) if entry.state == state => return,
            Some(entry) => entry.version + 1,
            None => 0,
        };
        entries.insert(
            end,
            Entry {
                state,
                written: false,
                version,
            },
        );
        drop(entries);
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn unwritten(&self) -> Vec<(End, Entry)> {
        let entries = self.entries.lock();
        let open = entries.iter().filter(|(_, entry)| !entry.written);
        open.map(|(end, entry)| (end.clone(), entry.clone()))
            .collect()
    }

    fn mark_written(&self, end: &End, version: u64) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries
            .get_mut(end)
            .filter(|entry| entry.version == version)
        else {
            return;
        };
        entry.written = true;
        if entry.state.is_none() {
            entries.remove(end);
        }
    }

    fn mark_all_unwritten(&self) {
        for entry in self.entries.lock().values_mut() {
            entry.written = false;
        }
    }

    /// Removes what a former process of this host has reported, which ended without a goodbye.
    async fn forget_former(&self) -> Result<(), StoreError> {
        for end in self.store.ends_on(&self.host).await? {
            // What is reported by now is written by the task that does this, before or afterwards.
            let is_known = self.entries.lock().contains_key(&end);
            if !is_known {
                let (link, endpoint) = &end;
                self.store
                    .delete(link, endpoint, self.host.as_str())
                    .await?;
            }
        }
        Ok(())
    }

    async fn write(&self, end: &End, entry: &Entry) -> Result<(), StoreError> {
        let (link, endpoint) = end;
        match &entry.state {
            None => self.store.delete(link, endpoint, self.host.as_str()).await,
            Some((state, reason)) => {
                let status = LinkStatus {
                    endpoint: endpoint.as_str().to_owned(),
                    host_id: self.host.as_str().to_owned(),
                    state: *state,
                    reason: reason.clone(),
                };
                self.store.put(link, &status).await
            }
        }
    }

    /// Writes until nothing is left or a write fails.
    async fn write_all(&self) -> Result<(), StoreError> {
        loop {
            let open = self.unwritten();
            if open.is_empty() {
                self.settled.notify_waiters();
                return Ok(());
            }
            for (end, entry) in open {
                self.write(&end, &entry).await?;
                self.mark_written(&end, entry.version);
            }
        }
    }
}

/// The bucket that was written to, to notice one that has taken its place.
#[derive(Debug, Default)]
struct Place {
    created: Option<OffsetDateTime>,
    connects: u64,
    checks: u32,
}

impl Place {
    /// Looks at the bucket before something is written there for the first time.
    async fn look(&mut self, shared: &Shared) -> Result<(), StoreError> {
        if self.created.is_none() && !shared.entries.lock().is_empty() {
            self.connects = shared.store.connects();
            self.created = Some(shared.store.created().await?);
        }
        Ok(())
    }

    /// Writes what is to be written.
    async fn fill(&mut self, shared: &Shared) -> Result<(), StoreError> {
        self.look(shared).await?;
        shared.write_all().await
    }

    /// Whether what was written is no longer there, since the bucket is another one than before. Asks
    /// when the connection was made anew, and otherwise now and then.
    async fn is_another(&mut self, shared: &Shared) -> bool {
        if shared.entries.lock().is_empty() {
            return false;
        }
        let connects = shared.store.connects();
        self.checks = self.checks.wrapping_add(1);
        let is_same = self.created.is_some() && self.connects == connects;
        if is_same && !self.checks.is_multiple_of(BUCKET_CHECK_EVERY) {
            return false;
        }
        // Asked again soon where nobody answers.
        let Ok(created) = shared.store.created().await else {
            return false;
        };
        self.connects = connects;
        let before = self.created.replace(created);
        before.is_some_and(|before| before != created)
    }
}

async fn run(shared: Arc<Shared>, refresh: Duration) {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE).spread_by(Spread::Shorter);
    let mut ticks = interval_at(Instant::now() + refresh, refresh);
    let mut checks = interval(CONNECTION_CHECK);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut place = Place::default();
    let (mut is_tidy, mut tidies) = (false, true);
    loop {
        match place.fill(&shared).await {
            Ok(()) => backoff.reset(),
            Err(error) => {
                tracing::warn!(%error, "could not write link states, trying again");
                tokio::time::sleep(backoff.delay()).await;
                continue;
            }
        }
        if std::mem::take(&mut tidies) {
            let tidied = shared.forget_former().await;
            is_tidy = tidied.is_ok();
            if let Err(error) = tidied {
                tracing::debug!(%error, "could not remove former link states");
            }
        }
        tokio::select! {
            () = shared.changed.notified() => {}
            _ = ticks.tick() => {
                shared.mark_all_unwritten();
                tidies = !is_tidy;
            }
            _ = checks.tick() => {
                if place.is_another(&shared).await {
                    tracing::info!("the bucket of link states was lost, writing them again");
                    shared.mark_all_unwritten();
                }
            }
        }
    }
}
