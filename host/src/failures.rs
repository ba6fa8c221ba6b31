//! Calls that failed: one log line and one event each, and no more than a reader can follow.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lattice_core::event::{Event, InvocationFailed};
use lattice_core::reply::ErrorCode;
use lattice_core::{ComponentId, HostId};
use lattice_rpc::quiet::tell_some;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use crate::events::Events;

/// For how long further failures of one kind are only counted.
const QUIET: Duration = Duration::from_secs(1);
/// How many kinds are kept apart at the same time.
const MAX_KINDS: usize = 1_024;

/// How many reports of providers may wait.
const WAITING: usize = 256;

/// A call that was not answered.
#[derive(Debug, Clone)]
pub(crate) struct Failure<'a> {
    /// The entity that was called, or that called when no target was found.
    pub(crate) component: &'a ComponentId,
    /// Who called.
    pub(crate) source: Option<&'a str>,
    /// Instance and function.
    pub(crate) operation: String,
    /// The kind.
    pub(crate) code: ErrorCode,
    /// Why, with every cause.
    pub(crate) error: String,
    /// More for the log, such as where a guest trapped.
    pub(crate) detail: Option<String>,
}

type Kind = (ComponentId, String, ErrorCode);

#[derive(Debug)]
struct Counted {
    since: Instant,
    /// The last one that was not told.
    waiting: Option<(Told, u64)>,
}

#[derive(Debug, Clone)]
struct Told {
    source: Option<String>,
    error: String,
    detail: Option<String>,
}

/// Tells the operator and the lattice about failed calls.
///
/// The first failure of a kind is told at once. What follows within a second is counted and told
/// together, so that a broken component under load does not drown everything else.
#[derive(Debug)]
pub(crate) struct Failures {
    inner: Arc<Inner>,
    of_providers: mpsc::Sender<InvocationFailed>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

#[derive(Debug)]
struct Inner {
    host: HostId,
    events: Arc<Events>,
    kinds: Mutex<Kinds>,
}

/// What has failed lately, by its kind.
#[derive(Debug, Default)]
struct Kinds {
    counted: HashMap<Kind, Counted>,
    /// How many were of kinds for which there was no room.
    lost: u64,
}

impl Kinds {
    /// Gives back a failure that is to be told at once, with the number of those that were not.
    fn note(&mut self, kind: &Kind, told: Told, now: Instant) -> Option<(Told, u64)> {
        if let Some(counted) = self.counted.get_mut(kind) {
            let count = counted.waiting.take().map_or(0, |(_, count)| count);
            counted.waiting = Some((told, count + 1));
            return None;
        }
        // With more kinds than this at once, one who floods is at work: further ones are only counted.
        if self.counted.len() >= MAX_KINDS {
            self.lost += 1;
            return None;
        }
        let (since, waiting) = (now, None);
        self.counted
            .insert(kind.clone(), Counted { since, waiting });
        Some((told, std::mem::take(&mut self.lost)))
    }

    /// What was counted long enough; forgets kinds that have become quiet.
    fn due(&mut self, now: Instant) -> Vec<(Kind, Told, u64)> {
        let mut due = Vec::new();
        self.counted.retain(|kind, counted| {
            if now.duration_since(counted.since) < QUIET {
                return true;
            }
            let Some((told, count)) = counted.waiting.take() else {
                return false;
            };
            due.push((kind.clone(), told, count - 1));
            counted.since = now;
            true
        });
        due
    }
}

impl Failures {
    pub(crate) fn start(host: HostId, events: Arc<Events>) -> Self {
        let inner = Arc::new(Inner {
            host,
            events,
            kinds: Mutex::default(),
        });
        let (of_providers, coming) = mpsc::channel(WAITING);
        let told = Arc::clone(&inner);
        let telling = tell_some(coming, move |failed| told.tell_of_provider(failed));
        let tasks = [
            tokio::spawn(tell_counted(Arc::clone(&inner))),
            tokio::spawn(telling),
        ];
        Self {
            inner,
            of_providers,
            _tasks: tasks.map(AbortOnDropHandle::new),
        }
    }

    /// Where goes what providers say of calls of their own. It is kept apart, so that it takes no room
    /// from what the host itself has seen.
    pub(crate) fn of_providers(&self) -> mpsc::Sender<InvocationFailed> {
        self.of_providers.clone()
    }

    pub(crate) fn report(&self, failure: Failure<'_>) {
        let kind = (failure.component.clone(), failure.operation, failure.code);
        let Failure { error, detail, .. } = failure;
        let told = Told {
            source: failure.source.map(str::to_owned),
            error,
            detail,
        };
        let first = self.inner.kinds.lock().note(&kind, told, Instant::now());
        if let Some((told, suppressed)) = first {
            self.inner.tell(kind, told, suppressed);
        }
    }
}

impl Inner {
    fn tell(&self, (component, operation, code): Kind, told: Told, suppressed: u64) {
        let Told {
            source,
            error,
            detail,
        } = told;
        tracing::error!(
            component = component.as_str(),
            operation,
            source = source.as_deref(),
            code = code.as_str(),
            suppressed,
            detail,
            "a call failed: {error}"
        );
        self.events
            .publish(Event::InvocationFailed(InvocationFailed {
                host_id: self.host.as_str().to_owned(),
                component_id: component.as_str().to_owned(),
                source_id: source,
                operation,
                code,
                error,
                suppressed,
            }));
    }

    /// Passes on what a provider says. Some write a line of their log for it as well, many do not: their
    /// calls are made again until somebody answers.
    fn tell_of_provider(&self, failed: InvocationFailed) {
        tracing::warn!(
            component = failed.component_id,
            operation = failed.operation,
            source = failed.source_id,
            code = failed.code.as_str(),
            suppressed = failed.suppressed,
            "a call of a provider failed: {}",
            failed.error
        );
        self.events
            .publish(Event::InvocationFailed(InvocationFailed {
                host_id: self.host.as_str().to_owned(),
                ..failed
            }));
    }

    /// Tells what was counted long enough.
    fn sweep(&self, now: Instant) {
        let due = self.kinds.lock().due(now);
        for (kind, told, suppressed) in due {
            self.tell(kind, told, suppressed);
        }
    }
}

async fn tell_counted(inner: Arc<Inner>) {
    let mut ticks = interval(QUIET / 4);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        inner.sweep(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(number: usize) -> Kind {
        let id = ComponentId::new("hostile").unwrap();
        (id, format!("a:b/c.f{number}"), ErrorCode::MissingLink)
    }

    fn told(error: &str) -> Told {
        Told {
            source: None,
            error: error.to_owned(),
            detail: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_of_a_kind_is_told_at_once_and_the_others_together() {
        let mut kinds = Kinds::default();
        let mut note = |error: &str| kinds.note(&kind(0), told(error), Instant::now());
        assert!(note("first").is_some());
        assert!(note("second").is_none() && note("third").is_none());
        assert!(kinds.due(Instant::now()).is_empty());
        tokio::time::advance(QUIET).await;
        let due = kinds.due(Instant::now());
        assert_eq!((&*due[0].1.error, due[0].2, due.len()), ("third", 1, 1));
        tokio::time::advance(QUIET).await;
        assert!(kinds.due(Instant::now()).is_empty() && kinds.counted.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_in_ever_new_ways_is_counted() {
        let mut kinds = Kinds::default();
        let at_once = |kinds: &mut Kinds, number| {
            let told = kinds.note(&kind(number), told("no link"), Instant::now());
            told.map(|(_, suppressed)| suppressed)
        };
        let first = (0..3 * MAX_KINDS).filter(|number| at_once(&mut kinds, *number).is_some());
        assert_eq!(first.count(), MAX_KINDS);
        assert_eq!(kinds.counted.len(), MAX_KINDS);
        tokio::time::advance(QUIET).await;
        assert!(kinds.due(Instant::now()).is_empty());
        let lost = u64::try_from(2 * MAX_KINDS).unwrap();
        assert_eq!(at_once(&mut kinds, 5 * MAX_KINDS), Some(lost));
        assert_eq!(at_once(&mut kinds, 6 * MAX_KINDS), Some(0));
    }
}
