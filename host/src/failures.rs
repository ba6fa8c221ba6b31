//! Calls that failed: one log line and one event each, and no more than a reader can follow.

use std::sync::Arc;

use lattice_core::event::{Event, InvocationFailed};
use lattice_core::reply::ErrorCode;
use lattice_core::{ComponentId, HostId};
use lattice_rpc::throttle::{
    KeyedThrottle, MAX_THROTTLED_KINDS, THROTTLE_WINDOW, forward_throttled,
};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use crate::events::Events;

/// How many kinds of failures of one component are kept apart: another's are told as well.
const MAX_OF_ONE: usize = 128;

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
    kinds: Mutex<KeyedThrottle<Kind, Told>>,
}

impl Failures {
    pub(crate) fn start(host: HostId, events: Arc<Events>) -> Self {
        let inner = Arc::new(Inner {
            host,
            events,
            kinds: Mutex::new(KeyedThrottle::new(MAX_THROTTLED_KINDS)),
        });
        let (of_providers, coming) = mpsc::channel(WAITING);
        let told = Arc::clone(&inner);
        let telling = forward_throttled(coming, move |failed| told.tell_of_provider(failed));
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
        let due = note(&mut self.inner.kinds.lock(), &kind, told, Instant::now());
        if let Some((told, suppressed)) = due {
            self.inner.tell(kind, told, suppressed);
        }
    }
}

/// Gives back a failure that is to be told at once, with the number of those that were not.
fn note(
    kinds: &mut KeyedThrottle<Kind, Told>,
    kind: &Kind,
    told: Told,
    now: Instant,
) -> Option<(Told, u64)> {
    let of_it = |(component, ..): &Kind| *component == kind.0;
    kinds.note_of_some(kind.clone(), told, now, MAX_OF_ONE, of_it)
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
        let mut due = Vec::new();
        let mut note = |kind: &Kind, told, untold| due.push((kind.clone(), told, untold));
        self.kinds.lock().sweep(now, &mut note);
        for (kind, told, suppressed) in due {
            self.tell(kind, told, suppressed);
        }
    }
}

async fn tell_counted(inner: Arc<Inner>) {
    let mut ticks = interval(THROTTLE_WINDOW / 4);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        inner.sweep(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(id: &str, number: usize) -> Kind {
        let id = ComponentId::new(id).unwrap();
        (id, format!("a:b/c.f{number}"), ErrorCode::MissingLink)
    }

    fn kind(number: usize) -> Kind {
        kind_of("hostile", number)
    }

    fn told(error: &str) -> Told {
        Told {
            source: None,
            error: error.to_owned(),
            detail: None,
        }
    }

    fn at_once(kinds: &mut KeyedThrottle<Kind, Told>, kind: &Kind) -> Option<u64> {
        let told = note(kinds, kind, told("no link"), Instant::now());
        told.map(|(_, suppressed)| suppressed)
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_in_ever_new_ways_is_counted() {
        let mut kinds = KeyedThrottle::new(MAX_THROTTLED_KINDS);
        let first =
            (0..3 * MAX_OF_ONE).filter(|number| at_once(&mut kinds, &kind(*number)).is_some());
        assert_eq!(first.count(), MAX_OF_ONE);
        tokio::time::advance(THROTTLE_WINDOW).await;
        kinds.sweep(Instant::now(), |kind, _, _| {
            panic!("{kind:?} is told again")
        });
        assert!(kinds.is_empty());
        let lost = u64::try_from(2 * MAX_OF_ONE).unwrap();
        assert_eq!(at_once(&mut kinds, &kind(5 * MAX_OF_ONE)), Some(lost));
        assert_eq!(at_once(&mut kinds, &kind(6 * MAX_OF_ONE)), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_in_ever_new_ways_silences_nobody_else_and_all_have_a_bound() {
        let mut kinds = KeyedThrottle::new(MAX_THROTTLED_KINDS);
        let mut first = 0;
        for component in 0..2 * MAX_THROTTLED_KINDS / MAX_OF_ONE {
            for number in 0..2 * MAX_OF_ONE {
                let kind = kind_of(&format!("hostile{component}"), number);
                let noted = at_once(&mut kinds, &kind);
                assert!(
                    noted.is_some() || number > 0 || first >= MAX_THROTTLED_KINDS,
                    "{component}"
                );
                first += usize::from(noted.is_some());
            }
        }
        assert_eq!(first, MAX_THROTTLED_KINDS);
        assert!(kinds.is_full());
    }
}
