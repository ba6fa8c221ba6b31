//! Writes the link states of one host in the background.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lattice_core::link::LinkState;
use lattice_core::{ComponentId, HostId, LinkKey, LinkStatus};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::backoff::Backoff;
use crate::error::StoreError;
use crate::status::StatusStore;

/// Pauses after a write that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

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
/// again after failures, and from time to time so that they do not age out of the bucket.
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

async fn run(shared: Arc<Shared>, refresh: Duration) {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut ticks = interval_at(Instant::now() + refresh, refresh);
    loop {
        match shared.write_all().await {
            Ok(()) => backoff.reset(),
            Err(error) => {
                tracing::warn!(%error, "could not write link states, trying again");
                tokio::time::sleep(backoff.pause()).await;
                continue;
            }
        }
        tokio::select! {
            () = shared.changed.notified() => {}
            _ = ticks.tick() => shared.mark_all_unwritten(),
        }
    }
}
