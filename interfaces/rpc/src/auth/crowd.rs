//! Those who wait for something, by whose they are: no owner takes all places.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The places of those who wait.
#[derive(Debug)]
pub(super) struct Crowd {
    most: usize,
    most_of_one: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_owner: HashMap<Arc<str>, usize>,
}

impl Crowd {
    pub(super) fn new(most: usize, most_of_one: usize) -> Self {
        Self {
            most,
            most_of_one,
            taken: Arc::default(),
        }
    }

    /// Takes a place until it is dropped; `None` when there are too many, or too many of `owner`.
    pub(super) fn enter(&self, owner: &Arc<str>) -> Option<Waits> {
        let mut taken = self.taken.lock();
        let own = taken.by_owner.get(owner).copied().unwrap_or_default();
        if taken.all >= self.most || own >= self.most_of_one {
            return None;
        }
        taken.all += 1;
        taken.by_owner.insert(Arc::clone(owner), own + 1);
        Some(Waits {
            taken: Arc::clone(&self.taken),
            owner: Arc::clone(owner),
        })
    }
}

/// The place of one who waits.
#[derive(Debug)]
pub(super) struct Waits {
    taken: Arc<Mutex<Taken>>,
    owner: Arc<str>,
}

impl Drop for Waits {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        taken.all -= 1;
        if let Some(count) = taken.by_owner.get_mut(&self.owner) {
            *count -= 1;
            if *count == 0 {
                taken.by_owner.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_of_one_owner_wait_and_others_have_places() {
        let crowd = Crowd::new(40, 32);
        let (one, other) = ("one".into(), "other".into());
        let places: Vec<_> = (0..32).map(|_| crowd.enter(&one)).collect();
        assert!(places.iter().all(Option::is_some));
        assert!(crowd.enter(&one).is_none());
        let others: Vec<_> = (0..8).map(|_| crowd.enter(&other)).collect();
        assert!(others.iter().all(Option::is_some));
        assert!(crowd.enter(&other).is_none(), "more than all");
        drop(places);
        assert!(crowd.enter(&one).is_some());
        drop(others);
        assert!(crowd.taken.lock().by_owner.is_empty());
    }
}
