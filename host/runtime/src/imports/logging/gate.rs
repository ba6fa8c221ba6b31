//! How much of what a component logs is written.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use tokio::time::Instant;

use crate::{HostEnv, LogLevel, LogRecord, LogSource};

/// The config key that says which lines are written.
const LEVEL: &str = "log_level";
/// The config key that says how many lines a second are.
const RATE: &str = "log_rate";

/// How many lines a second are written unless the config says otherwise.
const USUAL_RATE: u32 = 1000;

/// How often it is told that lines are left out, at most.
const QUIET: Duration = Duration::from_secs(1);

/// What a component's config says of its log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wish<'a> {
    /// The least level that is written, if one is named; `Err` for `off`.
    level: Option<Result<LogLevel, ()>>,
    /// Lines a second; 0 is any number.
    pub(super) rate: u32,
    /// A value that means nothing.
    odd: Option<(&'static str, &'a str)>,
}

impl<'a> Wish<'a> {
    pub(super) fn of(config: &'a IndexMap<String, String>) -> Self {
        let mut wish = Self {
            level: None,
            rate: USUAL_RATE,
            odd: None,
        };
        if let Some(text) = config.get(LEVEL) {
            wish.level = read_level(text);
            if wish.level.is_none() {
                wish.odd = Some((LEVEL, text));
            }
        }
        if let Some(text) = config.get(RATE) {
            match text.trim().parse() {
                Ok(rate) => wish.rate = rate,
                Err(_) => wish.odd = Some((RATE, text)),
            }
        }
        wish
    }

    /// Whether a line of this level is written, and whether that is because the config says so.
    pub(super) fn takes(&self, level: LogLevel) -> (bool, bool) {
        match self.level {
            None => (true, false),
            Some(Ok(least)) => (level >= least, true),
            Some(Err(())) => (false, true),
        }
    }
}

fn read_level(text: &str) -> Option<Result<LogLevel, ()>> {
    Some(match text.trim().to_ascii_lowercase().as_str() {
        "trace" => Ok(LogLevel::Trace),
        "debug" => Ok(LogLevel::Debug),
        "info" => Ok(LogLevel::Info),
        "warn" | "warning" => Ok(LogLevel::Warn),
        "error" => Ok(LogLevel::Error),
        "critical" => Ok(LogLevel::Critical),
        "off" => Err(()),
        _ => return None,
    })
}

/// Bounds what all calls of a component log together, and counts what it leaves out.
#[derive(Debug)]
pub(super) struct LogGate {
    state: Mutex<State>,
    left_out: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// When the next line would be written if they came evenly; it may lie in the past for as
    /// long as lines may come at once.
    next: Instant,
    /// When it may be told again what was left out.
    tell: Instant,
    /// Whether somebody tells then.
    has_teller: bool,
    /// The value that was last complained of.
    odd: Option<String>,
}

impl LogGate {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            state: Mutex::new(State {
                next: earliest(now),
                tell: now,
                has_teller: false,
                odd: None,
            }),
            left_out: AtomicU64::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more line may be written.
    pub(super) fn admit(&self, rate: u32) -> bool {
        if rate == 0 {
            return true;
        }
        let now = Instant::now();
        let mut state = self.state();
        let next = state.next.max(earliest(now));
        if next > now {
            return false;
        }
        state.next = next + Duration::from_secs(1) / rate;
        true
    }

    /// Counts lines that are not written.
    pub(super) fn leave_out(&self, count: u64) {
        self.left_out.fetch_add(count, Ordering::Relaxed);
    }

    /// Tells how many lines were left out, if there are any and it is time.
    pub(super) fn tell(&self, env: &dyn HostEnv) {
        if self.left_out.load(Ordering::Relaxed) == 0 {
            return;
        }
        let now = Instant::now();
        {
            let mut state = self.state();
            if now < state.tell {
                return;
            }
            state.tell = now + QUIET;
        }
        let count = self.left_out.swap(0, Ordering::Relaxed);
        let message = format!(
            "left out {count} log lines of the component; the config value `{RATE}` sets how many \
             lines a second are written"
        );
        env.log(LogRecord::plain(
            LogSource::Runtime,
            LogLevel::Warn,
            &message,
        ));
    }

    /// When what is left to tell is due, for one who then calls [`LogGate::tell_now`]; `None` while
    /// there is nothing, or somebody who does.
    pub(super) fn due(&self) -> Option<Instant> {
        if self.left_out.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut state = self.state();
        let due = (!state.has_teller).then_some(state.tell);
        state.has_teller = true;
        due
    }

    /// Tells what is due; gives when to come again, if there is more by then.
    pub(super) fn tell_now(&self, env: &dyn HostEnv) -> Option<Instant> {
        // First, so that what is left out from here on has a teller of its own.
        self.state().has_teller = false;
        self.tell(env);
        self.due()
    }

    /// Tells of a value that means nothing, once.
    pub(super) fn complain(&self, wish: &Wish<'_>, env: &dyn HostEnv) {
        let Some((key, text)) = wish.odd else { return };
        {
            let mut state = self.state();
            if state.odd.as_deref() == Some(text) {
                return;
            }
            state.odd = Some(text.to_owned());
        }
        let expected = match key {
            LEVEL => "`trace`, `debug`, `info`, `warn`, `error`, `critical` or `off`",
            _ => "a number of lines a second",
        };
        let text: String = text.chars().take(64).collect();
        let message = format!("the component's config has `{key}` = `{text}`, expected {expected}");
        env.log(LogRecord::plain(
            LogSource::Runtime,
            LogLevel::Warn,
            &message,
        ));
    }
}

/// How far back lines may have come evenly: as many as in one second may come at once.
fn earliest(now: Instant) -> Instant {
    now.checked_sub(Duration::from_secs(1)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeEnv;

    fn config(texts: &[(&str, &str)]) -> IndexMap<String, String> {
        let pair = |(key, text): &(&str, &str)| ((*key).to_owned(), (*text).to_owned());
        texts.iter().map(pair).collect()
    }

    #[test]
    fn a_level_lets_through_what_is_as_important() {
        let config = config(&[("log_level", "Warn"), ("log_rate", "5")]);
        let wish = Wish::of(&config);
        assert_eq!(wish.takes(LogLevel::Info), (false, true));
        assert_eq!(wish.takes(LogLevel::Warn), (true, true));
        assert_eq!((wish.rate, wish.odd), (5, None));
        assert_eq!(
            Wish::of(&IndexMap::new()).takes(LogLevel::Trace),
            (true, false)
        );
    }

    #[test]
    fn off_is_silence_and_nonsense_is_told_once() {
        let off = config(&[("log_level", "off")]);
        assert_eq!(Wish::of(&off).takes(LogLevel::Critical), (false, true));
        let odd = config(&[("log_level", "loud")]);
        let wish = Wish::of(&odd);
        assert_eq!(wish.takes(LogLevel::Trace), (true, false));
        let (gate, env) = (LogGate::new(), FakeEnv::default());
        for _ in 0..3 {
            gate.complain(&wish, &env);
        }
        let logged = env.logged();
        assert_eq!(logged.len(), 1);
        assert!(logged[0].contains("`log_level` = `loud`"), "{logged:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_lines_as_in_a_second_come_at_once_and_then_evenly() {
        let gate = LogGate::new();
        tokio::time::advance(Duration::from_secs(10)).await;
        let admitted = || (0..1000).filter(|_| gate.admit(100)).count();
        assert!((100..=101).contains(&admitted()));
        tokio::time::advance(Duration::from_millis(500)).await;
        assert!((49..=51).contains(&admitted()));
        assert!(gate.admit(0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_out_is_counted_and_told_once_a_second() {
        let (gate, env) = (LogGate::new(), FakeEnv::default());
        gate.tell(&env);
        assert!(env.logged().is_empty());
        for _ in 0..5 {
            gate.leave_out(1);
            gate.tell(&env);
        }
        assert_eq!(env.logged().len(), 1);
        let due = gate.due().unwrap();
        assert_eq!(gate.due(), None, "one teller is enough");
        tokio::time::sleep_until(due).await;
        assert_eq!(gate.tell_now(&env), None, "all is told");
        let logged = env.logged();
        assert!(logged[0].contains("left out 1 "), "{logged:?}");
        assert!(logged[1].contains("left out 4 "), "{logged:?}");
    }
}
