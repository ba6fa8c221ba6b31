//! What the service said, for a while.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use lattice_core::policy::{PolicyKind, PolicyRequest, PolicyResponse};
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use super::denied::Denied;

/// How many decisions are kept. Each is made for one function or one way of starting something.
const MAX_DECISIONS: usize = 8_192;
/// The longest that a decision is kept: a year. Far later times are none of the clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// For how long it is remembered that there was no answer.
const UNANSWERED: Duration = Duration::from_secs(1);

/// One decision and how long it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    outcome: Result<(), Denied>,
    until: Instant,
    /// The state of the host's labels that it was made for.
    labels: u64,
}

impl Decision {
    pub(super) fn said(response: PolicyResponse, keep: Duration, labels: u64) -> Self {
        let outcome = match response.permitted {
            true => Ok(()),
            false => Err(Denied::Refused {
                message: response.message,
            }),
        };
        Self {
            outcome,
            until: Instant::now() + keep.min(LONGEST),
            labels,
        }
    }

    pub(super) fn unanswered(denied: Denied, labels: u64) -> Self {
        Self {
            outcome: Err(denied),
            until: Instant::now() + UNANSWERED,
            labels,
        }
    }

    pub(super) fn outcome(self) -> Result<(), Denied> {
        self.outcome
    }
}

/// The place of one decision.
#[derive(Debug, Default)]
pub(super) struct Entry {
    state: Mutex<State>,
    /// Held by who asks.
    pub(super) asking: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct State {
    /// The request that the decision answers, or will.
    request: Option<Asked>,
    /// How many there have been.
    asked: u64,
    decision: Option<Decision>,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) id: String,
    pub(super) kind: PolicyKind,
    /// The state of the host's labels that it told.
    labels: u64,
}

impl Entry {
    /// What was decided, if it still holds.
    pub(super) fn decision(&self, labels: u64) -> Option<Decision> {
        let state = self.state.lock();
        let decision = state.decision.as_ref()?;
        let holds = decision.labels == labels && Instant::now() < decision.until;
        holds.then(|| decision.clone())
    }

    /// How many questions have begun.
    pub(super) fn asked(&self) -> u64 {
        self.state.lock().asked
    }

    /// What was decided, if it still holds, or answers a question that began after `asked` others: for who
    /// has come meanwhile it holds, however short it is kept.
    pub(super) fn decision_since(&self, asked: u64, labels: u64) -> Option<Decision> {
        let state = self.state.lock();
        let decision = state.decision.as_ref()?;
        let is_in_time = state.asked > asked || Instant::now() < decision.until;
        (decision.labels == labels && is_in_time).then(|| decision.clone())
    }

    /// Keeps an answer, unless the service has changed it on its way; gives what holds.
    pub(super) fn answered(&self, request: &str, decision: Decision) -> Decision {
        let mut state = self.state.lock();
        let asked = state.request.as_ref();
        if asked.is_none_or(|asked| asked.id != request) {
            return decision;
        }
        state.decision.get_or_insert(decision).clone()
    }

    fn until(&self) -> Option<Instant> {
        self.state
            .lock()
            .decision
            .as_ref()
            .map(|decision| decision.until)
    }
}

/// All decisions, by what they are about and by the request that they answer.
#[derive(Debug)]
pub(super) struct Cache {
    keep: Duration,
    entries: RwLock<HashMap<Arc<str>, Arc<Entry>>>,
    requests: Mutex<HashMap<String, Weak<Entry>>>,
}

impl Cache {
    pub(super) fn new(keep: Duration) -> Self {
        Self {
            keep,
            entries: RwLock::default(),
            requests: Mutex::default(),
        }
    }

    pub(super) fn keep(&self) -> Duration {
        self.keep
    }

    pub(super) fn find(&self, key: &Arc<str>) -> Option<Arc<Entry>> {
        self.entries.read().get(key).cloned()
    }

    /// The place for a decision, for which others make room.
    pub(super) fn entry(&self, key: &Arc<str>) -> Arc<Entry> {
        if let Some(entry) = self.find(key) {
            return entry;
        }
        let mut entries = self.entries.write();
        if entries.len() >= MAX_DECISIONS && !entries.contains_key(key) {
            make_room(&mut entries);
            drop_dead(&mut self.requests.lock());
        }
        Arc::clone(entries.entry(Arc::clone(key)).or_default())
    }

    /// A request is about to be sent: a change that names it counts from now on.
    pub(super) fn asks(&self, entry: &Arc<Entry>, request: &PolicyRequest, labels: u64) {
        let asked = Asked {
            id: request.request_id.clone(),
            kind: request.kind,
            labels,
        };
        let before = {
            let mut state = entry.state.lock();
            state.decision = None;
            state.asked += 1;
            state.request.replace(asked)
        };
        let mut requests = self.requests.lock();
        if let Some(before) = before {
            requests.remove(&before.id);
        }
        requests.insert(request.request_id.clone(), Arc::downgrade(entry));
    }

    /// Puts what the service says now in the place of what it said; gives what it was asked.
    pub(super) fn change(&self, response: PolicyResponse) -> Option<Asked> {
        let entry = self.requests.lock().get(&response.request_id)?.upgrade()?;
        let mut state = entry.state.lock();
        let asked = state.request.clone();
        let asked = asked.filter(|asked| asked.id == response.request_id)?;
        state.decision = Some(Decision::said(response, self.keep, asked.labels));
        Some(asked)
    }

    /// Forgets all decisions whose key begins so.
    pub(super) fn forget(&self, prefix: &str) {
        self.entries
            .write()
            .retain(|key, _| !key.starts_with(prefix));
        drop_dead(&mut self.requests.lock());
    }
}

/// Throws out what no longer holds, and of the rest the eighth that ends first.
fn make_room(entries: &mut HashMap<Arc<str>, Arc<Entry>>) {
    let now = Instant::now();
    // What somebody waits for has no decision yet, and stays.
    let in_use = |entry: &Arc<Entry>| Arc::strong_count(entry) > 1;
    entries.retain(|_, entry| in_use(entry) || entry.until().is_some_and(|until| until > now));
    if entries.len() < MAX_DECISIONS {
        return;
    }
    let mut ends: Vec<Instant> = entries.values().filter_map(|entry| entry.until()).collect();
    ends.sort_unstable();
    let Some(last) = ends.get(MAX_DECISIONS / 8).copied() else {
        return;
    };
    entries.retain(|_, entry| in_use(entry) || entry.until().is_none_or(|until| until > last));
}

fn drop_dead(requests: &mut HashMap<String, Weak<Entry>>) {
    requests.retain(|_, entry| entry.strong_count() > 0);
}

#[cfg(test)]
mod tests;
