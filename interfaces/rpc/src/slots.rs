//! The slot table of a peer.
//!
//! A slot is named by its number and a generation, so that a late message for an earlier call
//! finds nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subject;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::CallError;
use crate::exchange::Exchange;

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    exchange: Option<Arc<Exchange>>,
}

#[derive(Debug, Default)]
struct Table {
    slots: Vec<Slot>,
    free: VecDeque<u32>,
    live: usize,
    lingering: VecDeque<(Instant, SlotId)>,
    /// Where the next round of questions goes on.
    next_asked: usize,
}

/// The name of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotId {
    index: u32,
    generation: u32,
}

impl SlotId {
    fn parse(token: &str) -> Option<Self> {
        let (index, generation) = token.split_once('-')?;
        Some(Self {
            index: u32::from_str_radix(index, 16).ok()?,
            generation: u32::from_str_radix(generation, 16).ok()?,
        })
    }
}

impl std::fmt::Display for SlotId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}-{:x}", self.index, self.generation)
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
        let index = match table.free.pop_front() {
            Some(index) => index,
            None => {
                table.slots.push(Slot::default());
                // The table never outgrows `limit`, far below the range of the index.
                (table.slots.len() - 1) as u32
            }
        };
        let slot = &mut table.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.exchange = Some(exchange);
        Some(SlotId {
            index,
            generation: slot.generation,
        })
    }

    pub(crate) fn remove(&self, id: SlotId) {
        let mut table = self.table.lock();
        Self::remove_locked(&mut table, id);
    }

    fn remove_locked(table: &mut Table, id: SlotId) {
        let Some(slot) = table.slots.get_mut(id.index as usize) else {
            return;
        };
        if slot.generation == id.generation && slot.exchange.take().is_some() {
            table.live -= 1;
            table.free.push_back(id.index);
        }
    }

    /// Keeps a slot of a call that was given up, so that its peer can still be told.
    pub(crate) fn linger(&self, id: SlotId, time: Duration) {
        self.table
            .lock()
            .lingering
            .push_back((Instant::now() + time, id));
    }

    /// Frees the slots that have lingered long enough.
    pub(crate) fn sweep(&self) {
        let mut table = self.table.lock();
        let now = Instant::now();
        while let Some((at, id)) = table.lingering.front().copied() {
            if at > now {
                return;
            }
            table.lingering.pop_front();
            Self::remove_locked(&mut table, id);
        }
    }

    pub(crate) fn get(&self, token: &str) -> Option<(SlotId, Arc<Exchange>)> {
        let id = SlotId::parse(token)?;
        let table = self.table.lock();
        let slot = table.slots.get(id.index as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        slot.exchange.clone().map(|exchange| (id, exchange))
    }

    /// The calls whose other ends are to be asked for in this round, and where.
    pub(crate) fn questions(&self, most: usize) -> Vec<(SlotId, Subject)> {
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
            if let Some(subject) = slot.exchange.as_ref().and_then(|exchange| exchange.ask()) {
                let id = SlotId {
                    index: index as u32,
                    generation: slot.generation,
                };
                questions.push((id, subject));
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
        let open: Vec<_> = self
            .table
            .lock()
            .slots
            .iter()
            .filter_map(|slot| slot.exchange.clone())
            .collect();
        for exchange in open {
            exchange.fail(error.clone());
        }
    }
}
