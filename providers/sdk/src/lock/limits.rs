//! The bounds of leases and of waiting.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::backend::LockError;
use crate::describe::Features;
use crate::settings::{InvalidSetting, Settings};

/// What the interface can count.
const LONGEST_MS: u64 = u32::MAX as u64;
const USUAL: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(3600);
const WAITERS: usize = 256;
const MOST_WAITERS: usize = 65_536;

/// What a link allows its component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The shortest lease that the backend keeps.
    pub shortest: Duration,
    /// The longest that is given.
    pub longest: Duration,
    /// The one of those who do not say.
    pub usual: Duration,
    /// How many calls may wait at once.
    pub waiters: usize,
}

impl Limits {
    /// Reads what a link says; `shortest` is what the backend can do.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(settings: &Settings, shortest: Duration) -> Result<Self, InvalidSetting> {
        Self::read_within(settings, shortest, Duration::from_millis(LONGEST_MS))
    }

    /// As [`Limits::read`], for a backend that keeps no lease for longer than `longest`.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read_within(
        settings: &Settings,
        shortest: Duration,
        longest: Duration,
    ) -> Result<Self, InvalidSetting> {
        let range = |from: Duration, to: Duration| -> RangeInclusive<u64> {
            let whole = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(LONGEST_MS);
            whole(from)..=whole(to)
        };
        let longest =
            settings.millis("ttl_max_ms", LONGEST.min(longest), range(shortest, longest))?;
        let usual = USUAL.clamp(shortest, longest);
        Ok(Self {
            shortest,
            longest,
            usual: settings.millis("ttl_ms", usual, range(shortest, longest))?,
            waiters: settings.number("max_waiters", WAITERS, 1..=MOST_WAITERS)?,
        })
    }

    /// What a link within them can do, at either end, of what its backend can.
    pub(crate) fn told(&self, backend: Features) -> Features {
        let features = match backend.lacks("fair").is_empty() {
            true => backend.with("order", "arrival"),
            false => backend.lacking("order"),
        };
        features
            .with("ttl", "lease")
            .with("cas", "token")
            .lacking("paging")
            .with("max-waiters", self.waiters)
            .with("ttl-min-ms", self.shortest.as_millis())
            .with("ttl-max-ms", self.longest.as_millis())
    }

    /// The time that a component asks for.
    pub(crate) fn ttl(&self, asked: u32) -> Result<Duration, LockError> {
        if asked == 0 {
            return Ok(self.usual);
        }
        let asked = Duration::from_millis(asked.into());
        if asked > self.longest {
            return Err(LockError::InvalidTtl(format!(
                "a lease of {asked:?} is longer than {:?}, the `ttl_max_ms` of the link",
                self.longest
            )));
        }
        Ok(asked.max(self.shortest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::describe::vocabulary::LOCK;

    const SHORTEST: Duration = Duration::from_millis(100);

    #[test]
    fn times_are_kept_in_bounds() {
        let settings = Settings::from_texts([("ttl_ms", "5000"), ("ttl_max_ms", "10000")], []);
        let limits = Limits::read(&settings, SHORTEST).unwrap();
        assert_eq!(limits.ttl(0), Ok(Duration::from_secs(5)));
        assert_eq!(limits.ttl(1), Ok(SHORTEST));
        assert_eq!(limits.ttl(10_000), Ok(Duration::from_secs(10)));
        let error = limits.ttl(10_001).unwrap_err();
        assert!(error.text().contains("ttl_max_ms"), "{error:?}");
    }

    #[test]
    fn every_word_is_told_that_no_backend_knows() {
        let settings = Settings::from_texts([("ttl_max_ms", "10000")], []);
        let limits = Limits::read(&settings, SHORTEST).unwrap();
        let backend = Features::new()
            .with("consistency", "linearizable")
            .having("fencing")
            .lacking("fair");
        let told = limits.told(backend);
        let complaints = LOCK.complaints(told.iter());
        assert!(complaints.is_empty(), "{complaints:?}");
        let required = "ttl-min-ms=100, ttl-max-ms=10000, order=none, fencing";
        assert!(told.lacks(required).is_empty());
    }

    #[test]
    fn what_the_backend_cannot_do_is_refused() {
        for (key, value) in [
            ("ttl_ms", "99"),
            ("ttl_ms", "3600001"),
            ("ttl_max_ms", "0"),
            ("max_waiters", "0"),
        ] {
            let settings = Settings::from_texts([(key, value)], []);
            let error = Limits::read(&settings, SHORTEST).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
