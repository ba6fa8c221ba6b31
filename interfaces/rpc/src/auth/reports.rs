//! The way of reports of refused calls to whoever tells of them.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::Arc;

use lattice_core::event::CallRefused;
use lattice_core::subject::rpc::parse_invocation;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::{Auth, Ends, LineEnd, entity};
use crate::error::RemoteError;
use crate::throttle::{
    MAX_KINDS_OF_OWNER, MAX_THROTTLED_KINDS, MAX_THROTTLED_OWNERS, Throttled as _,
};

/// Where reports of refused calls go. A call never waits for it: while whoever reads them is behind, those of
/// one caller, target and reason wait together, so that a flood of some hides none of the others.
#[derive(Debug)]
pub(super) struct CallReports {
    queue: mpsc::Sender<CallRefused>,
    waiting: Arc<Mutex<Waiting>>,
}

/// Who has caused it, and what of theirs it is. Without these, all for which there is no room to be apart.
type Key = (Option<String>, Option<(String, String)>);

/// Reports for which the queue had no room.
#[derive(Debug, Default)]
struct Waiting {
    /// The last one of each kind, which stands for those before it.
    reports: HashMap<Key, CallRefused>,
    /// What they are of, the one first that waits longest.
    order: VecDeque<Key>,
    /// How many there are of each who causes them.
    of_owners: HashMap<Option<String>, usize>,
    /// A task hands them on.
    is_emptied: bool,
}

impl CallReports {
    pub(super) fn new(queue: mpsc::Sender<CallRefused>) -> Self {
        let waiting = Arc::default();
        Self { queue, waiting }
    }

    /// Sends a report, at once or as soon as there is room.
    pub(super) fn send(&self, report: CallRefused) {
        let mut waiting = self.waiting.lock();
        let report = match self.queue.try_send(report) {
            Ok(()) => return,
            // Nobody reads them any more.
            Err(TrySendError::Closed(_)) => return,
            Err(TrySendError::Full(report)) => report,
        };
        waiting.add(report);
        if waiting.is_emptied {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            waiting.is_emptied = true;
            let (queue, waiting) = (self.queue.clone(), Arc::clone(&self.waiting));
            runtime.spawn(hand_on(queue, waiting));
        }
    }
}

/// Hands on what waits until nothing does, or nobody reads it any more.
async fn hand_on(queue: mpsc::Sender<CallRefused>, waiting: Arc<Mutex<Waiting>>) {
    while let Ok(place) = queue.reserve().await {
        let Some(report) = waiting.lock().take_one() else {
            return;
        };
        place.send(report);
    }
}

impl Waiting {
    fn add(&mut self, mut report: CallRefused) {
        let key = self.key(&report);
        if let Some(earlier) = self.reports.get(&key) {
            let more = earlier.suppressed.saturating_add(1);
            report.suppressed = report.suppressed.saturating_add(more);
        } else {
            self.order.push_back(key.clone());
            *self.of_owners.entry(key.0.clone()).or_default() += 1;
        }
        self.reports.insert(key, report);
    }

    fn key(&self, report: &CallRefused) -> Key {
        let key = (report.owner(), Some(report.kind()));
        if self.reports.contains_key(&key) {
            return key;
        }
        let (owner, kind) = key;
        let of_owner = self.of_owners.get(&owner).copied().unwrap_or_default();
        if self.reports.len() < MAX_THROTTLED_KINDS && of_owner < MAX_KINDS_OF_OWNER {
            return (owner, kind);
        }
        let has_room = self.reports.len() < MAX_THROTTLED_KINDS + MAX_THROTTLED_OWNERS;
        (owner.filter(|_| has_room), None)
    }

    /// The one that waits longest; without any, the task that hands them on ends.
    fn take_one(&mut self) -> Option<CallRefused> {
        let key = self.order.pop_front();
        let report = key.and_then(|key| self.remove(key));
        self.is_emptied = report.is_some();
        report
    }

    fn remove(&mut self, key: Key) -> Option<CallRefused> {
        let report = self.reports.remove(&key);
        if let Entry::Occupied(mut count) = self.of_owners.entry(key.0) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        report
    }
}

impl Auth {
    /// Tells of what the process at the other end of a line has done to the call of a function, or says of
    /// one, that is no business of its provider; `untold` others it has done besides.
    pub(crate) fn tell_of_line(&self, end: &LineEnd, function: &str, why: &str, untold: u64) {
        let (caller, code) = match end {
            // It carries the calls of everybody.
            LineEnd::Host => return,
            LineEnd::Provider(id) => (Some(&**id), RemoteError::FOREIGN_SOURCE),
            LineEnd::Somebody => (None, RemoteError::UNAUTHENTICATED),
        };
        let (target, operation) = match caller {
            Some(_) => (
                entity(function).map_or("", |(_, target)| target),
                parse_invocation(function).map_or(function, |(.., operation)| operation),
            ),
            // Reports are told apart by targets, and it may name as many as it likes.
            None => ("", function),
        };
        let ends = Ends {
            source: caller,
            caller,
            target,
        };
        self.tell_for(ends, operation, (code, why), untold);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(caller: &str, target: &str) -> CallRefused {
        CallRefused {
            caller_id: Some(caller.to_owned()),
            target_id: target.to_owned(),
            code: "not-linked".to_owned(),
            ..CallRefused::default()
        }
    }

    #[tokio::test]
    async fn the_one_that_waits_longest_goes_first_and_those_that_went_leave_room() {
        let (queue, mut coming) = mpsc::channel(1);
        let reports = CallReports::new(queue);
        for _ in 0..2 {
            let targets: Vec<_> = (0..=MAX_KINDS_OF_OWNER).map(|at| at.to_string()).collect();
            for target in &targets {
                reports.send(by("a", target));
            }
            for target in &targets {
                assert_eq!(coming.recv().await.unwrap().target_id, *target);
            }
        }
    }

    #[tokio::test]
    async fn a_flood_of_one_caller_hides_no_report_of_another_while_nobody_reads() {
        let (queue, mut coming) = mpsc::channel(1);
        let reports = CallReports::new(queue);
        let many = 2 * MAX_THROTTLED_KINDS;
        for number in 0..many {
            reports.send(by("a", &number.to_string()));
            if number == many / 2 {
                reports.send(by("b", "probe"));
            }
            reports.send(by("a", "probe"));
        }
        drop(reports);
        let (mut of_a, mut of_b) = (0, Vec::new());
        while let Some(report) = coming.recv().await {
            match report.caller_id.as_deref() {
                Some("a") => of_a += 1 + report.suppressed,
                _ => of_b.push((report.target_id, report.suppressed)),
            }
        }
        assert_eq!(of_b, [("probe".to_owned(), 0)]);
        assert_eq!(of_a, 2 * u64::try_from(many).unwrap());
    }
}
