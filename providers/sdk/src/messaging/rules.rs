//! How messages of a link are delivered, as the link says it.

use std::time::Duration;

use crate::Backoff;
use crate::session::{DEFAULT_DEADLINE, Session};
use crate::settings::{InvalidSetting, Settings};

/// The longest pause that a link may ask for.
const LONGEST_PAUSE: u64 = 3_600_000;
/// How many pauses it may list.
const MOST_PAUSES: usize = 32;

/// Where messages go that could not be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetterTo {
    /// Where the provider has them go when the link does not say.
    Usual,
    /// To the log alone.
    Nowhere,
    /// To this subject, topic or queue.
    Named(String),
}

/// What holds where a link says nothing.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// How many attempts a message is given.
    pub max_deliver: u32,
    /// How many messages a component is given at once.
    pub max_in_flight: usize,
    /// How long a message is kept for a component that cannot be reached; `None` for as long as it
    /// takes, where the broker keeps what is not acknowledged.
    pub unreached: Option<Duration>,
    /// How long the handler may take over one.
    pub timeout: Duration,
}

impl Defaults {
    /// The usual ones, with the host's time for calls.
    #[must_use]
    pub fn of(session: &Session) -> Self {
        Self {
            timeout: session.default_deadline(),
            ..Self::default()
        }
    }
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            max_deliver: 5,
            max_in_flight: 64,
            unreached: None,
            timeout: DEFAULT_DEADLINE,
        }
    }
}

/// How messages of one link are delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRules {
    /// How many attempts a message is given.
    pub max_deliver: u32,
    /// The pauses between them; never empty.
    pub backoff: Vec<Duration>,
    /// How many messages the component is given at once.
    pub max_in_flight: usize,
    /// How long the handler may take over one.
    pub timeout: Duration,
    /// Where messages go that could not be delivered.
    pub dead_letter: DeadLetterTo,
    /// How long a message is kept for a component that cannot be reached.
    pub unreached: Option<Duration>,
}

impl DeliveryRules {
    /// Reads what a link says.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value that cannot be used.
    pub fn read(settings: &Settings, defaults: &Defaults) -> Result<Self, InvalidSetting> {
        let expected = "pauses in milliseconds, joined by commas, of an hour at most";
        let backoff = settings.read("backoff", expected, pauses)?;
        let backoff = backoff.unwrap_or_else(|| [100, 500, 2000, 10_000].map(millis).to_vec());
        let dead_letter = match settings.text("dead_letter").map(str::trim) {
            None | Some("") => DeadLetterTo::Usual,
            Some("none") => DeadLetterTo::Nowhere,
            Some(name) => DeadLetterTo::Named(name.to_owned()),
        };
        Ok(Self {
            max_deliver: settings.number("max_deliver", defaults.max_deliver, 1..=10_000)?,
            backoff,
            max_in_flight: settings.number("max_in_flight", defaults.max_in_flight, 1..=4096)?,
            timeout: settings.millis("timeout_ms", defaults.timeout, 1..=600_000)?,
            dead_letter,
            unreached: defaults.unreached,
        })
    }

    /// The pause after attempt number `attempt`, the first of which is 1; spread a little, so that
    /// what failed together is not tried together.
    #[must_use]
    pub fn pause(&self, attempt: u32) -> Duration {
        let at = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        let last = self.backoff.last();
        let pause = self.backoff.get(at).or(last).copied().unwrap_or_default();
        Backoff::new(pause, pause).delay()
    }
}

fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

fn pauses(text: &str) -> Option<Vec<Duration>> {
    let one = |item: &str| {
        let number = item.trim().parse().ok();
        number.filter(|pause| *pause <= LONGEST_PAUSE).map(millis)
    };
    let pauses: Option<Vec<_>> = text.split(',').map(one).collect();
    pauses.filter(|pauses| pauses.len() <= MOST_PAUSES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: &str, text: &str) -> Result<DeliveryRules, InvalidSetting> {
        DeliveryRules::read(
            &Settings::from_texts([(key, text)], []),
            &Defaults::default(),
        )
    }

    #[test]
    fn the_last_pause_is_used_again() {
        let rules = read("backoff", "10, 200").unwrap();
        assert!(rules.pause(1) <= millis(12));
        assert!(rules.pause(2) >= millis(160));
        assert!(rules.pause(900) >= millis(160));
        assert_eq!(read("backoff", "0").unwrap().pause(1), Duration::ZERO);
    }

    #[test]
    fn a_link_may_say_nothing() {
        let rules = read("", "").unwrap();
        assert_eq!((rules.max_deliver, rules.max_in_flight), (5, 64));
        assert_eq!(rules.dead_letter, DeadLetterTo::Usual);
        assert_eq!(rules.backoff.len(), 4);
    }

    #[test]
    fn a_link_goes_before_the_host_in_how_long_a_handler_may_take() {
        let defaults = Defaults {
            timeout: Duration::from_secs(60),
            ..Defaults::default()
        };
        let timeout = |text| {
            let settings = Settings::from_texts([("timeout_ms", text)], []);
            DeliveryRules::read(&settings, &defaults).unwrap().timeout
        };
        assert_eq!(timeout(""), Duration::from_secs(60));
        assert_eq!(timeout("70"), millis(70));
    }

    #[test]
    fn where_dead_letters_go_is_read() {
        let to = |text| read("DEAD_LETTER", text).unwrap().dead_letter;
        assert_eq!(to("none"), DeadLetterTo::Nowhere);
        assert_eq!(to("a.b"), DeadLetterTo::Named("a.b".into()));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (key, text) in [
            ("backoff", "10,,20"),
            ("backoff", "soon"),
            ("backoff", "3600001"),
            ("max_deliver", "0"),
            ("max_in_flight", "many"),
            ("timeout_ms", "-1"),
        ] {
            let error = read(key, text).unwrap_err().to_string();
            assert!(error.contains(&format!("`{key}`")), "{error}");
        }
    }
}
