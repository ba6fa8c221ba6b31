//! The slot table of a peer.
//!
//! A slot is named by its number and a seal that cannot be guessed, so that a late message for an
//! earlier call finds nothing, nor does one of somebody who was not told the name. Where nothing
//! should be late, both serve again for calls of the same function, see [`reuse`]; what tells the
//! calls apart then is their turn, which a peer of our kind puts on its answer.

mod reuse;

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subject;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::CallError;
use crate::exchange::{Exchange, Question};
use crate::socket::Line;
use reuse::Reuse;

#[derive(Debug, Default)]
struct Slot {
    seal: u64,
    /// How many calls have had the slot.
    turn: u32,
    exchange: Option<Arc<Exchange>>,
    /// The function for whose next call an empty slot keeps its name.
    kept_for: Option<Subject>,
}

#[derive(Debug, Default)]
struct Table {
    slots: Vec<Slot>,
    free: VecDeque<u32>,
    reuse: Reuse,
    live: usize,
    lingering: VecDeque<(Instant, SlotId)>,
    /// Where the next round of questions goes on.
    next_asked: usize,
    seals: Seals,
}

/// Numbers that nobody can tell from those that came before: a keyed hash, whose key the system has
/// drawn, of how many there were.
#[derive(Debug, Default)]
struct Seals {
    key: RandomState,
    made: u64,
}

impl Seals {
    fn next(&mut self) -> u64 {
        self.made = self.made.wrapping_add(1);
        self.key.hash_one(self.made)
    }
}

impl Table {
    /// An empty slot with a name that nothing should come for but what this call causes.
    /// Whether it had the name before comes with it.
    fn place_for(&mut self, exchange: &Exchange) -> (u32, bool) {
        let kept = exchange
            .is_caller()
            .then(|| self.reuse.take(exchange.subject()))
            .flatten();
        if let Some(index) = kept {
            self.slots[index as usize].kept_for = None;
            return (index, true);
        }
        let index = self.free.pop_front().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            // The table never outgrows its limit and what rests, far below the range of the index.
            (self.slots.len() - 1) as u32
        });
        self.slots[index as usize].seal = self.seals.next();
        (index, false)
    }

    fn empty(&mut self, id: SlotId) -> Option<Arc<Exchange>> {
        let slot = self.slots.get_mut(id.index as usize)?;
        if slot.seal != id.seal {
            return None;
        }
        let exchange = slot.exchange.take()?;
        self.live -= 1;
        Some(exchange)
    }

    fn remove(&mut self, id: SlotId) {
        if self.empty(id).is_some() {
            self.free.push_back(id.index);
        }
    }

    /// Whether a call has the slot of this name.
    fn holds(&self, id: SlotId) -> bool {
        let slot = self.slots.get(id.index as usize);
        slot.is_some_and(|slot| slot.seal == id.seal && slot.exchange.is_some())
    }

    fn distrust(&mut self, function: &Subject) {
        let given_up = self.reuse.distrust(function);
        self.give_up(given_up);
    }

    /// Lets slots that have rested have new names.
    fn give_up(&mut self, resting: Vec<u32>) {
        for index in resting {
            self.slots[index as usize].kept_for = None;
            self.free.push_back(index);
        }
    }
}

/// The name of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotId {
    index: u32,
    seal: u64,
}

impl SlotId {
    fn parse(token: &str) -> Option<Self> {
        let (index, seal) = token.split_once('-')?;
        Some(Self {
            index: index.parse().ok()?,
            seal: seal.parse().ok()?,
        })
    }

    /// What is read by [`SlotId::parse`], after a prefix.
    pub(crate) fn text(&self, prefix: &str) -> String {
        let (mut index, mut seal) = (itoa::Buffer::new(), itoa::Buffer::new());
        let index = index.format(self.index);
        [prefix, index, "-", seal.format(self.seal)].concat()
    }
}

/// The slots of one peer.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    table: Mutex<Table>,
}

impl Slots {
    /// Puts an exchange into a slot; `None` when `limit` are taken.
    pub(crate) fn insert(&self, limit: usize, exchange: Arc<Exchange>) -> Option<SlotId> {
        let mut table = self.table.lock();
        if table.live >= limit {
            return None;
        }
        table.live += 1;
        let (index, again) = table.place_for(&exchange);
        let slot = &mut table.slots[index as usize];
        slot.turn = slot.turn.wrapping_add(1);
        exchange.begin_turn(slot.turn, again);
        slot.exchange = Some(exchange);
        Some(SlotId {
            index,
            seal: slot.seal,
        })
    }

    pub(crate) fn remove(&self, id: SlotId) {
        self.table.lock().remove(id);
    }

    /// Empties the slot of a call for which nothing more can come, so that the next call of the
    /// same function may have its name.
    pub(crate) fn rest(&self, id: SlotId) {
        let mut table = self.table.lock();
        let Some(exchange) = table.empty(id) else {
            return;
        };
        let function = exchange.subject();
        if table.reuse.keep(function, id.index) {
            table.slots[id.index as usize].kept_for = Some(function.clone());
        } else {
            table.free.push_back(id.index);
        }
    }

    /// Something has come for a slot that no call has. Where calls may have the names of earlier
    /// ones, the next such message could be taken for the answer of another call; gives the function
    /// of which that is true, whose calls get new names from now on.
    pub(crate) fn stray(&self, token: &str) -> Option<Subject> {
        let id = SlotId::parse(token)?;
        let mut table = self.table.lock();
        let slot = table.slots.get(id.index as usize)?;
        let function = slot.kept_for.clone().filter(|_| slot.seal == id.seal)?;
        table.distrust(&function);
        Some(function)
    }

    /// Gives each call of a function a new name for a while, since one was answered twice, or some
    /// who answer it do not tell whose answer it is.
    pub(crate) fn distrust(&self, function: &Subject) {
        self.table.lock().distrust(function);
    }

    /// A peer of our kind has answered a call of a function.
    pub(crate) fn trust(&self, function: &Subject) {
        self.table.lock().reuse.trust(function);
    }

    /// Whether calls of a function were answered lately, by peers of our kind only.
    pub(crate) fn trusts(&self, function: &Subject) -> bool {
        self.table.lock().reuse.trusts(function)
    }

    /// Keeps a slot of a call that was given up, so that its peer can still be told.
    pub(crate) fn linger(&self, id: SlotId, time: Duration) {
        self.table
            .lock()
            .lingering
            .push_back((Instant::now() + time, id));
    }

    /// Frees the slots that have lingered or rested long enough.
    pub(crate) fn sweep(&self) {
        let mut table = self.table.lock();
        let now = Instant::now();
        let given_up = table.reuse.expire(now);
        table.give_up(given_up);
        while let Some((at, id)) = table.lingering.front().copied() {
            // Most have been answered meanwhile, and their slots are free, or have another name.
            if at > now && table.holds(id) {
                return;
            }
            table.lingering.pop_front();
            table.remove(id);
        }
    }

    pub(crate) fn get(&self, token: &str) -> Option<(SlotId, Arc<Exchange>)> {
        let id = SlotId::parse(token)?;
        let table = self.table.lock();
        let slot = table.slots.get(id.index as usize)?;
        if slot.seal != id.seal {
            return None;
        }
        slot.exchange.clone().map(|exchange| (id, exchange))
    }

    /// The calls whose other ends are to be asked for in this round, and what.
    pub(crate) fn questions(&self, most: usize) -> Vec<(SlotId, Question)> {
        let mut table = self.table.lock();
        let len = table.slots.len();
        let mut questions = Vec::new();
        for _ in 0..len {
            if questions.len() == most {
                break;
            }
            let index = table.next_asked % len;
            table.next_asked = index + 1;
            let slot = &table.slots[index];
            let ask = |exchange: &Arc<Exchange>| exchange.ask(|called| table.reuse.trusts(called));
            if let Some(question) = slot.exchange.as_ref().and_then(ask) {
                let id = SlotId {
                    index: index as u32,
                    seal: slot.seal,
                };
                questions.push((id, question));
            }
        }
        questions
    }

    /// How many slots are taken.
    pub(crate) fn live(&self) -> usize {
        self.table.lock().live
    }

    /// Fails everything that still waits.
    pub(crate) fn fail_all(&self, error: &CallError) {
        for exchange in self.open() {
            exchange.fail(error.clone());
        }
    }

    /// Ends the calls whose other end was reached over a line that is no more.
    pub(crate) fn lose(&self, line: &Line) {
        for exchange in self.open() {
            exchange.lose(line);
        }
    }

    /// Ends the calls of which a part may have been lost with the connection for long streams.
    pub(crate) fn lose_long(&self) {
        for exchange in self.open() {
            exchange.lose_long();
        }
    }

    /// Doubts the calls to subjects that begin with `prefix` of which nothing has been heard.
    pub(crate) fn doubt(&self, prefix: &str) {
        for exchange in self.open() {
            exchange.doubt(prefix);
        }
    }

    fn open(&self) -> Vec<Arc<Exchange>> {
        let table = self.table.lock();
        let slots = table.slots.iter();
        slots.filter_map(|slot| slot.exchange.clone()).collect()
    }
}
