//! How many calls there may be in a time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The most calls that a rate may name.
const MOST: u32 = 1_000_000;

/// So many calls in so much time, `100/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many calls, at least one. So many may come at once.
    pub count: u32,
    /// In which time.
    pub per: Per,
}

/// The time of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Per {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
}

impl Per {
    const ALL: [Self; 3] = [Self::Second, Self::Minute, Self::Hour];

    fn as_str(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
        }
    }

    /// How long it is.
    #[must_use]
    pub fn time(self) -> Duration {
        Duration::from_secs(match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
        })
    }
}

impl Default for Rate {
    fn default() -> Self {
        Self {
            count: 1,
            per: Per::Second,
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.per.as_str())
    }
}

/// A text that is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no rate; it is a number up to {MOST} of calls in a second, minute or hour, such as `100/s`, `30/m` or `5/h`"
)]
pub struct InvalidRate {
    /// The text, cut when long.
    pub text: String,
}

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (count, per) = text.split_once('/')?;
            let per = Per::ALL.into_iter().find(|known| known.as_str() == per)?;
            let is_number = count.bytes().all(|byte| byte.is_ascii_digit());
            let count = count.parse().ok().filter(|_| is_number)?;
            (1..=MOST).contains(&count).then_some(Self { count, per })
        };
        read().ok_or_else(|| InvalidRate {
            text: text.chars().take(80).collect(),
        })
    }
}
