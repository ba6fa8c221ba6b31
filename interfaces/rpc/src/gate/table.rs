//! Who waits at the gate, and who is next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::Inner;
use super::member::{Member, Turn};

/// The members and their queues. How many calls wait in one is bounded by the limiter before it.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Row>,
    /// How many turns were given so far.
    given: u64,
}

#[derive(Debug)]
struct Row {
    member: Arc<Member>,
    queue: VecDeque<oneshot::Sender<Turn>>,
    /// When it was last its turn, as a number of turns.
    last: u64,
    /// `last`, and how many calls had ended, when that was last looked at with some waiting.
    seen: Option<(u64, usize)>,
}

/// Whose turn it is, and where it waits.
pub(super) type Next = (Arc<Member>, oneshot::Sender<Turn>);

impl Row {
    fn load(&self) -> usize {
        self.member.load.load(Ordering::Relaxed)
    }

    /// Forgets those at the front who wait no more.
    fn prune(&mut self) {
        while self.queue.front().is_some_and(oneshot::Sender::is_closed) {
            self.queue.pop_front();
        }
    }

    fn is_active(&self) -> bool {
        !self.queue.is_empty() || self.load() > 0
    }
}

impl Table {
    pub(super) fn add(&mut self, member: &Arc<Member>) {
        self.rows.push(Row {
            member: Arc::clone(member),
            queue: VecDeque::new(),
            last: 0,
            seen: None,
        });
    }

    pub(super) fn remove(&mut self, member: &Arc<Member>) {
        self.rows.retain(|row| !Arc::ptr_eq(&row.member, member));
    }

    pub(super) fn push(&mut self, member: &Arc<Member>, place: oneshot::Sender<Turn>) {
        let found = |row: &&mut Row| Arc::ptr_eq(&row.member, member);
        if let Some(row) = self.rows.iter_mut().find(found) {
            row.queue.push_back(place);
        }
    }

    /// Whether there is a member of that name.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.rows.iter().any(|row| *row.member.name == *name)
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.rows.iter().map(|row| &*row.member)
    }

    /// Whether a call of this member does not have to wait.
    pub(super) fn admits(&self, member: &Arc<Member>, source: Option<&str>) -> bool {
        if source.is_some_and(|source| self.knows(source)) {
            return true;
        }
        let gate = &member.gate;
        if gate.waiting.load(Ordering::SeqCst) == 0 && gate.has_room() {
            return true;
        }
        let mut active = self.rows.iter().filter(|row| row.is_active()).count();
        let own = member.load.load(Ordering::Relaxed);
        active += usize::from(own == 0);
        own < share(gate, active)
    }

    /// Takes the next place out of the queues, if it may have its turn now.
    pub(super) fn next(&mut self, gate: &Inner) -> Option<Next> {
        self.rows.iter_mut().for_each(Row::prune);
        let active = self.rows.iter().filter(|row| row.is_active()).count();
        let waiting = self.rows.iter_mut().filter(|row| !row.queue.is_empty());
        let row = waiting.min_by_key(|row| (row.load(), row.last))?;
        if !gate.has_room() && row.load() >= share(gate, active) {
            return None;
        }
        self.given += 1;
        row.last = self.given;
        let place = row.queue.pop_front()?;
        Some((Arc::clone(&row.member), place))
    }

    /// Takes the first place out of each queue that has not moved since the last time.
    pub(super) fn stuck(&mut self, mut take: impl FnMut(Next)) {
        for row in &mut self.rows {
            row.prune();
            let ended = row.member.ended.load(Ordering::Relaxed);
            let seen = (!row.queue.is_empty()).then_some((row.last, ended));
            if seen.is_none() || std::mem::replace(&mut row.seen, seen) != seen {
                row.seen = seen;
                continue;
            }
            if let Some(place) = row.queue.pop_front() {
                take((Arc::clone(&row.member), place));
            }
        }
    }
}

/// What each of `active` members may have at work, whatever the others have.
fn share(gate: &Inner, active: usize) -> usize {
    (gate.limit.load(Ordering::Relaxed) / active.max(1)).max(1)
}
