//! Behaves well or badly, as asked.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::Probe;
use crate::bindings::exports::test::probe::behave::Guest;

/// Lives as long as the instance.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// Memory is taken in pieces of this size.
const PIECE: usize = 1 << 20;

impl Guest for Probe {
    fn trap(message: String) {
        panic!("{message}");
    }

    fn spin() {
        let mut round = 0_u64;
        loop {
            round = black_box(round.wrapping_add(1));
        }
    }

    fn burn(milliseconds: u64) -> u64 {
        let end = Instant::now() + Duration::from_millis(milliseconds);
        let mut rounds = 0_u64;
        while Instant::now() < end {
            // Asking for the time leaves the guest; most of the work has to stay inside.
            for _ in 0..10_000 {
                rounds = black_box(rounds.wrapping_add(1));
            }
        }
        rounds
    }

    fn allocate_forever() {
        let mut kept = Vec::new();
        loop {
            kept.push(black_box(vec![1_u8; PIECE]));
        }
    }

    fn allocate(bytes: u64) -> u64 {
        let length = usize::try_from(bytes).expect("more than a guest can address");
        black_box(vec![1_u8; length]).len() as u64
    }

    fn overflow_stack() -> u64 {
        deeper(0)
    }

    fn sleep(milliseconds: u64) {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }

    fn print(line: String, times: u32) {
        for _ in 0..times {
            println!("{line}");
        }
    }

    fn print_error(line: String, times: u32) {
        for _ in 0..times {
            eprintln!("{line}");
        }
    }

    fn calls_of_this_instance() -> u64 {
        CALLS.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn random() -> Vec<u8> {
        // The keys of a new hash map are the random numbers that std takes from its host.
        use std::hash::{BuildHasher as _, RandomState};
        let state = RandomState::new();
        [0_u8, 1]
            .iter()
            .flat_map(|seed| state.hash_one(seed).to_le_bytes())
            .collect()
    }

    fn now() -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    }

    fn make_bytes(length: u32) -> Vec<u8> {
        (0..length).map(|index| index as u8).collect()
    }
}

/// Uses a good piece of stack per level; the result depends on every level, so none is left out.
fn deeper(level: u64) -> u64 {
    let frame = black_box([level; 64]);
    if frame[0] == u64::MAX {
        return level;
    }
    deeper(level + 1).wrapping_add(frame[63])
}
