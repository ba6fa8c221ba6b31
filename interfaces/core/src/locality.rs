//! How near the calls of a link may stay.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which roads the calls of a link may take; an addition to the links of the 1.9 lattice, where
/// all of them spread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "String")]
pub enum Locality {
    /// The nearest server that has room: in the process of the caller, then on its machine, then
    /// wherever NATS finds one.
    #[default]
    PreferLocal,
    /// All servers alike, as NATS shares calls among the members of a queue group.
    Spread,
    /// In the process of the caller or on its machine; refused where that cannot be.
    LocalOnly,
}

impl Locality {
    /// All of them, the default first.
    pub const ALL: [Self; 3] = [Self::PreferLocal, Self::Spread, Self::LocalOnly];

    /// Whether it is what a link has that says nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The name on the command line and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreferLocal => "prefer-local",
            Self::Spread => "spread",
            Self::LocalOnly => "local-only",
        }
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no locality.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no locality; it is one of `prefer-local`, `spread` and `local-only`")]
pub struct InvalidLocality {
    /// The text, cut when long.
    pub text: String,
}

impl TryFrom<String> for Locality {
    type Error = InvalidLocality;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for Locality {
    type Err = InvalidLocality;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|known| known.as_str() == text);
        named.ok_or_else(|| InvalidLocality {
            text: text.chars().take(80).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_one_name_everywhere() {
        for locality in Locality::ALL {
            assert_eq!(locality.as_str().parse(), Ok(locality));
            let json = serde_json::to_value(locality).unwrap();
            assert_eq!(json, locality.as_str());
            assert_eq!(serde_json::from_value::<Locality>(json).unwrap(), locality);
        }
        let error = serde_json::from_str::<Locality>("\"local\"").unwrap_err();
        assert!(error.to_string().starts_with(
            "`local` is no locality; it is one of `prefer-local`, `spread` and `local-only`"
        ));
    }
}
