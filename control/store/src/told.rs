//! What the log is told of records that cannot be used.
//!
//! Whoever may write to a bucket can have as many of them as they like, with keys and values as long as
//! messages may be, and they are read again and again. So each is told of once a second at most, and some
//! of them at a time.

use std::fmt::Display;

use lattice_rpc::throttle::KeyedThrottle;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How many records are told apart at the same time.
const MAX_RECORDS: usize = 64;
/// How much of an error is told.
const LONGEST: usize = 256;

/// Of all stores in this process: they share its log.
static LATELY: Mutex<Option<KeyedThrottle<String, ()>>> = Mutex::new(None);

/// How many were not told since the last one, if it is to be told of the record with this key.
pub(crate) fn turn(key: &str) -> Option<u64> {
    let mut lately = LATELY.lock();
    let lately = lately.get_or_insert_with(|| KeyedThrottle::new(MAX_RECORDS));
    turn_of(lately, key, Instant::now())
}

fn turn_of(lately: &mut KeyedThrottle<String, ()>, key: &str, now: Instant) -> Option<u64> {
    if lately.is_full() {
        lately.forget_quiet(now);
    }
    let told = lately.note(key.to_owned(), (), 0, now);
    told.map(|((), untold)| untold)
}

/// The beginning of an error, which may repeat what stands in a record: as a field that is a text, its
/// lines are not those of the log.
pub(crate) fn clipped(error: &dyn Display) -> String {
    lattice_core::text::clipped(error, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    use lattice_rpc::throttle::THROTTLE_WINDOW;

    #[test]
    fn each_record_is_told_of_once_a_second_and_some_at_a_time() {
        let (mut lately, now) = (KeyedThrottle::new(MAX_RECORDS), Instant::now());
        let keys: Vec<String> = (0..1000).map(|at| format!("COMPONENT_{at}")).collect();
        let mut told = 0;
        for key in keys.iter().chain(&keys) {
            told += usize::from(turn_of(&mut lately, key, now).is_some());
        }
        assert_eq!(told, MAX_RECORDS);
        let untold = turn_of(&mut lately, "COMPONENT_new", now + THROTTLE_WINDOW);
        assert_eq!(untold, Some(2 * 1000 - MAX_RECORDS as u64));
    }

    #[test]
    fn an_error_is_told_as_a_short_text() {
        assert_eq!(clipped(&"x".repeat(10_000)).len(), LONGEST);
    }
}
