//! Calls that were refused because of who makes them: for those who watch the lattice, and no more
//! of them than a reader can follow.

use std::collections::HashMap;
use std::time::Duration;

use lattice_core::HostId;
use lattice_core::event::{CallRefused, Event};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use crate::events::Events;

/// For how long further refusals of one kind are only counted.
const QUIET: Duration = Duration::from_secs(1);
/// How many kinds are kept apart at the same time.
const MAX_KINDS: usize = 1024;
/// How many reports may wait.
const WAITING: usize = 256;

/// What is told once: refusals of calls to one entity for one reason.
type Kind = (String, String);

/// Tells of refused calls.
#[derive(Debug)]
pub(crate) struct Refusals {
    reports: mpsc::Sender<CallRefused>,
    _task: AbortOnDropHandle<()>,
}

impl Refusals {
    pub(crate) fn start(host: HostId, events: std::sync::Arc<Events>) -> Self {
        let (reports, coming) = mpsc::channel(WAITING);
        let tell = move |refused: CallRefused| {
            tracing::warn!(
                target = refused.target_id,
                source = refused.source_id,
                operation = refused.operation,
                code = refused.code,
                suppressed = refused.suppressed,
                "refused a call: {}",
                refused.error
            );
            events.publish(Event::CallRefused(CallRefused {
                host_id: host.as_str().to_owned(),
                ..refused
            }));
        };
        let task = tokio::spawn(tell_some(coming, tell));
        Self {
            reports,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Where reports go.
    pub(crate) fn reports(&self) -> mpsc::Sender<CallRefused> {
        self.reports.clone()
    }
}

/// What of one kind has come since it was told last.
#[derive(Debug)]
struct Counted {
    since: Instant,
    waiting: Option<CallRefused>,
}

/// Tells the first of each kind at once, and what follows within a second together.
async fn tell_some(mut coming: mpsc::Receiver<CallRefused>, tell: impl Fn(CallRefused)) {
    let mut kinds: HashMap<Kind, Counted> = HashMap::new();
    let mut ticks = interval(QUIET / 4);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            refused = coming.recv() => match refused {
                Some(refused) => note(&mut kinds, refused, &tell),
                None => return,
            },
            _ = ticks.tick() => sweep(&mut kinds, &tell),
        }
    }
}

fn note(kinds: &mut HashMap<Kind, Counted>, refused: CallRefused, tell: &impl Fn(CallRefused)) {
    let kind = (refused.target_id.clone(), refused.code.clone());
    if let Some(counted) = kinds.get_mut(&kind) {
        let before = counted.waiting.take().map_or(0, |one| one.suppressed + 1);
        counted.waiting = Some(CallRefused {
            suppressed: before,
            ..refused
        });
        return;
    }
    // With more kinds than this at once, one who floods is at work: nothing is told of further ones.
    if kinds.len() < MAX_KINDS {
        let since = Instant::now();
        let waiting = None;
        kinds.insert(kind, Counted { since, waiting });
        tell(refused);
    }
}

fn sweep(kinds: &mut HashMap<Kind, Counted>, tell: &impl Fn(CallRefused)) {
    let now = Instant::now();
    kinds.retain(|_, counted| {
        if now.duration_since(counted.since) < QUIET {
            return true;
        }
        let Some(refused) = counted.waiting.take() else {
            return false;
        };
        counted.since = now;
        tell(refused);
        true
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    use parking_lot::Mutex;

    fn refused(target: &str, error: usize) -> CallRefused {
        CallRefused {
            target_id: target.to_owned(),
            code: "replayed".to_owned(),
            error: error.to_string(),
            ..CallRefused::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_is_told_at_once_and_the_others_together() {
        let (reports, coming) = mpsc::channel(WAITING);
        let told = std::sync::Arc::new(Mutex::new(Vec::new()));
        let log = std::sync::Arc::clone(&told);
        let _task = AbortOnDropHandle::new(tokio::spawn(tell_some(coming, move |refused| {
            log.lock()
                .push((refused.target_id, refused.error, refused.suppressed));
        })));
        for error in 0..10 {
            reports.send(refused("a", error)).await.unwrap();
        }
        reports.send(refused("b", 0)).await.unwrap();
        tokio::time::sleep(QUIET / 2).await;
        let first = |target: &str| (target.to_owned(), "0".to_owned(), 0);
        assert_eq!(*told.lock(), [first("a"), first("b")]);
        tokio::time::sleep(2 * QUIET).await;
        assert_eq!(told.lock()[2..], [("a".to_owned(), "9".to_owned(), 8)]);
    }
}
