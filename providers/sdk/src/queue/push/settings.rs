//! What a link with handlers may say.

use std::time::Duration;

use crate::settings::{InvalidSetting, Settings};

/// How handlers are called; the module page has the table of the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushSettings {
    /// How many messages are handled at once.
    pub max_in_flight: usize,
    /// How long one call may take.
    pub timeout: Duration,
    /// The delay after a first failure.
    pub backoff: Duration,
    /// The longest such delay.
    pub max_backoff: Duration,
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl PushSettings {
    /// Reads what a link says.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(settings: &Settings) -> Result<Self, InvalidSetting> {
        let seconds = Duration::from_secs;
        let backoff = settings.millis("backoff_ms", seconds(1), 0..=DAY_MS)?;
        let max_backoff = settings.millis("max_backoff_ms", seconds(300), 0..=DAY_MS)?;
        Ok(Self {
            max_in_flight: settings.number("max_in_flight", 16, 1..=10_000)?,
            // Components take no deadline that is further off.
            timeout: settings.millis("timeout_ms", seconds(60), 1..=600_000)?,
            backoff,
            max_backoff: max_backoff.max(backoff),
        })
    }

    /// How long to wait after the failed attempt `attempt`, spread by up to a fifth so that
    /// messages that failed together do not come again together.
    pub(crate) fn delay(&self, attempt: u32) -> Duration {
        let backoff = crate::Backoff::new(self.backoff, self.max_backoff);
        backoff.after(attempt.saturating_sub(1)).delay()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let settings =
            Settings::from_texts([("backoff_ms", "100"), ("MAX_BACKOFF_MS", "1000")], []);
        let settings = PushSettings::read(&settings).unwrap();
        let near = |attempt, millis: u64| {
            let delay = settings.delay(attempt).as_millis();
            let millis = u128::from(millis);
            assert!(
                (millis * 8 / 10..=millis * 12 / 10).contains(&delay),
                "{delay}"
            );
        };
        near(1, 100);
        near(2, 200);
        near(4, 800);
        near(5, 1000);
        near(u32::MAX, 1000);
    }

    #[test]
    fn values_out_of_range_are_named() {
        for (key, text) in [
            ("max_in_flight", "0"),
            ("timeout_ms", "600001"),
            ("backoff_ms", "x"),
        ] {
            let settings = Settings::from_texts([(key, text)], []);
            let error = PushSettings::read(&settings).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(text), "{error}");
        }
    }
}
