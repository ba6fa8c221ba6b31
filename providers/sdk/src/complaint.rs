//! Failed calls in the log.
//!
//! A component can have as many calls fail as it likes, with names as long as messages may be, and what
//! a provider logs is kept by its host. So of what fails for one caller in one function the log is told
//! the first, and how many more there were with the next one that comes a second later or after.

use std::fmt::Display;
use std::hash::{DefaultHasher, Hash, Hasher};

use lattice_rpc::Context;
use lattice_rpc::throttle::KeyedThrottle;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How many kinds are kept apart at the same time.
const MAX_THROTTLED_KINDS: usize = 256;
/// How much of an error is told.
const LONGEST: usize = 512;

/// Of all providers in this process: they share its log.
static LATELY: Mutex<Option<KeyedThrottle<u64, ()>>> = Mutex::new(None);

/// Says that a call has failed, or counts it.
pub(crate) fn warn(what: &str, cx: &Context, function: &str, error: &dyn Display) {
    let source = cx.source_id.as_deref().unwrap_or("<unknown>");
    let Some(untold) = turn(&(source, what, function)) else {
        return;
    };
    let (link_name, error) = (&*cx.link_name, clipped(error));
    tracing::warn!(source, link_name, function, error, untold, "{what}");
}

/// How many of a kind were not told since the last one, if one is to be told.
pub(crate) fn turn(kind: &impl Hash) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    kind.hash(&mut hasher);
    let mut lately = LATELY.lock();
    let lately = lately.get_or_insert_with(|| KeyedThrottle::new(MAX_THROTTLED_KINDS));
    turn_of(lately, hasher.finish(), Instant::now())
}

fn turn_of(lately: &mut KeyedThrottle<u64, ()>, kind: u64, now: Instant) -> Option<u64> {
    if lately.is_full() {
        lately.forget_quiet(now);
    }
    lately.note(kind, (), 0, now).map(|((), untold)| untold)
}

/// The beginning of an error.
pub(crate) fn clipped(error: &dyn Display) -> String {
    lattice_core::text::clipped(error, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    use lattice_rpc::throttle::THROTTLE_WINDOW;

    #[tokio::test(start_paused = true)]
    async fn the_first_of_a_kind_is_told_and_the_others_of_a_second_are_counted() {
        let mut lately = KeyedThrottle::new(MAX_THROTTLED_KINDS);
        let mut turn = |kind| turn_of(&mut lately, kind, Instant::now());
        assert_eq!((turn(1), turn(2)), (Some(0), Some(0)));
        assert_eq!((turn(1), turn(1), turn(2)), (None, None, None));
        tokio::time::advance(THROTTLE_WINDOW).await;
        assert_eq!((turn(1), turn(2)), (Some(2), Some(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn kinds_that_are_too_many_are_counted_with_the_next_that_is_told() {
        let mut lately = KeyedThrottle::new(MAX_THROTTLED_KINDS);
        let mut turn = |kind| turn_of(&mut lately, kind, Instant::now());
        let kinds = 2 * MAX_THROTTLED_KINDS as u64;
        let told = (0..kinds).filter(|kind| turn(*kind).is_some()).count();
        assert_eq!(told, MAX_THROTTLED_KINDS);
        assert_eq!(turn(0), None);
        tokio::time::advance(THROTTLE_WINDOW).await;
        assert_eq!(turn(kinds), Some(kinds - MAX_THROTTLED_KINDS as u64 + 1));
    }

    #[test]
    fn long_errors_are_cut() {
        assert_eq!(clipped(&"é".repeat(1000)), "é".repeat(LONGEST));
        assert_eq!(clipped(&"short"), "short");
    }
}
