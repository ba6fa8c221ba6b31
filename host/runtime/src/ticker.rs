//! The clock of guest code: a thread that advances the engine's epoch while guests run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::{Engine, EngineWeak};

use crate::RuntimeError;

/// After how many ticks without a running guest the thread goes to sleep.
const IDLE_TICKS: u32 = 200;

/// Advances the epoch every tick as long as some guest runs.
///
/// When it is dropped the thread ends within one tick.
pub(crate) struct Ticker {
    state: Arc<State>,
    thread: Thread,
    tick: Duration,
}

struct State {
    ticks: AtomicU64,
    running: AtomicUsize,
    asleep: AtomicBool,
    stop: AtomicBool,
}

/// A guest is running; ticks go on while it exists.
pub(crate) struct Running(Arc<State>);

impl Ticker {
    pub(crate) fn start(engine: &Engine, tick: Duration) -> Result<Self, RuntimeError> {
        let state = Arc::new(State {
            ticks: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let handle = std::thread::Builder::new()
            .name("lattice-ticker".to_owned())
            .spawn({
                let (state, engine) = (Arc::clone(&state), engine.weak());
                move || run(&state, &engine, tick)
            })
            .map_err(RuntimeError::Ticker)?;
        Ok(Self {
            state,
            thread: handle.thread().clone(),
            tick,
        })
    }

    /// Marks a guest as running.
    pub(crate) fn enter(&self) -> Running {
        // Sequentially consistent with the stores in `run`: either the thread sees this count
        // before it sleeps, or this sees that it sleeps.
        self.state.running.fetch_add(1, Ordering::SeqCst);
        if self.state.asleep.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(Arc::clone(&self.state))
    }

    /// How many ticks a time takes, at least one.
    pub(crate) fn ticks(&self, time: Duration) -> u64 {
        let ticks = time.as_nanos().div_ceil(self.tick.as_nanos().max(1));
        u64::try_from(ticks).unwrap_or(u64::MAX).max(1)
    }
}

impl Running {
    /// The number of ticks so far.
    pub(crate) fn now(&self) -> u64 {
        self.0.ticks.load(Ordering::Relaxed)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

fn run(state: &State, engine: &EngineWeak, tick: Duration) {
    let mut idle = 0;
    while !state.stop.load(Ordering::SeqCst) {
        if state.running.load(Ordering::SeqCst) > 0 {
            idle = 0;
        } else {
            idle += 1;
        }
        if idle > IDLE_TICKS {
            state.asleep.store(true, Ordering::SeqCst);
            if state.running.load(Ordering::SeqCst) == 0 && !state.stop.load(Ordering::SeqCst) {
                std::thread::park();
            }
            state.asleep.store(false, Ordering::SeqCst);
            idle = 0;
            continue;
        }
        std::thread::park_timeout(tick);
        let Some(engine) = engine.upgrade() else {
            return;
        };
        state.ticks.fetch_add(1, Ordering::Relaxed);
        engine.increment_epoch();
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_types,
    reason = "the ticker is a thread and knows no paused time"
)]
mod tests {
    use super::*;

    #[test]
    fn ticks_advance_while_something_runs_and_again_after_a_rest() {
        let engine = Engine::default();
        let ticker = Ticker::start(&engine, Duration::from_millis(1)).unwrap();
        for _ in 0..2 {
            let running = ticker.enter();
            let start = running.now();
            let deadline = std::time::Instant::now() + Duration::from_secs(20);
            while running.now() < start + 3 {
                assert!(
                    std::time::Instant::now() < deadline,
                    "the ticker stands still"
                );
                std::thread::yield_now();
            }
            drop(running);
            while !ticker.state.asleep.load(Ordering::SeqCst) {
                assert!(
                    std::time::Instant::now() < deadline,
                    "the ticker never rests"
                );
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn a_budget_is_rounded_up() {
        let ticker = Ticker::start(&Engine::default(), Duration::from_millis(5)).unwrap();
        assert_eq!(ticker.ticks(Duration::from_millis(1)), 1);
        assert_eq!(ticker.ticks(Duration::from_millis(6)), 2);
        assert_eq!(ticker.ticks(Duration::ZERO), 1);
    }
}
