//! Deliveries that ended before a call began.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How many messages are known at most.
const MOST: usize = 16_384;
/// For how long after such a delivery they are known where there are too many: one that is given back comes again
/// before that, or is gone.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// How many deliveries of a message ended before a call began, as far as this process gave them back. A backend
/// that counts them would spend the attempts of what no handler has seen.
#[derive(Debug, Default)]
pub(crate) struct Unbegun {
    known: Mutex<HashMap<String, Known>>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    count: u32,
    last: Instant,
}

impl Unbegun {
    /// One more ended so.
    pub(crate) fn note(&self, id: &str) {
        let now = Instant::now();
        let mut known = self.known.lock();
        if known.len() >= MOST && !known.contains_key(id) {
            known.retain(|_, known| now < known.last + KNOWN_FOR);
            if known.len() >= MOST {
                return;
            }
        }
        let one = known.entry(id.to_owned());
        let one = one.or_insert(Known {
            count: 0,
            last: now,
        });
        (one.count, one.last) = (one.count.saturating_add(1), now);
    }

    /// Which attempt it is that the backend counts as `delivered`.
    pub(crate) fn attempt(&self, id: &str, delivered: u32) -> u32 {
        let count = self.known.lock().get(id).map_or(0, |known| known.count);
        delivered.saturating_sub(count).max(1)
    }

    /// The message does not come again.
    pub(crate) fn forget(&self, id: &str) {
        self.known.lock().remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_never_began_is_no_attempt_until_the_message_is_gone() {
        let unbegun = Unbegun::default();
        assert_eq!(unbegun.attempt("a", 3), 3);
        unbegun.note("a");
        unbegun.note("a");
        assert_eq!((unbegun.attempt("a", 3), unbegun.attempt("b", 3)), (1, 3));
        assert_eq!(unbegun.attempt("a", 1), 1);
        unbegun.forget("a");
        assert_eq!(unbegun.attempt("a", 3), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn old_ones_make_room_and_new_ones_find_none() {
        let unbegun = Unbegun::default();
        for n in 0..MOST {
            unbegun.note(&n.to_string());
        }
        unbegun.note("new");
        assert_eq!(unbegun.attempt("new", 2), 2);
        unbegun.note("0");
        assert_eq!(unbegun.attempt("0", 3), 1);
        tokio::time::advance(KNOWN_FOR).await;
        unbegun.note("new");
        assert_eq!(unbegun.attempt("new", 2), 1);
        assert_eq!(unbegun.known.lock().len(), 1);
    }
}
