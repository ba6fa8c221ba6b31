//! What a backend can do, in words that a link may require.
//!
//! A provider tells the [`Features`] of each link that it took. They are names with values; which
//! names there are is the business of a capability, and `docs/capabilities.md` lists them. A link
//! whose target config has the value `require` is taken only by a backend that has all of it:
//!
//! ```
//! use lattice_provider_sdk::Features;
//!
//! let redis = Features::new().with("increment", "atomic").with("max-value-bytes", 536_870_912);
//! assert!(redis.lacks("increment, max-value-bytes>=1000").is_empty());
//! assert_eq!(redis.lacks("cas, increment=none"), ["cas", "increment=none"]);
//! ```

use std::collections::BTreeMap;
use std::fmt;

use crate::error::LinkError;
use crate::link::ProviderLink;

/// The value of a link that lists what its backend has to have.
pub(crate) const REQUIRE: &str = "require";

/// What a backend can do: names of features with their values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features(BTreeMap<&'static str, String>);

impl Features {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one with its value, such as `consistency` and `linearizable`.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.0.insert(name, value.to_string());
        self
    }

    /// Adds one that needs no value.
    #[must_use]
    pub fn having(self, name: &'static str) -> Self {
        self.with(name, "yes")
    }

    /// All of them in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// The parts of a requirement that are not met: names, `name=value` and `name>=number`, joined
    /// by commas.
    #[must_use]
    pub fn lacks<'a>(&self, required: &'a str) -> Vec<&'a str> {
        let parts = required.split(',').map(str::trim);
        let parts = parts.filter(|part| !part.is_empty());
        parts.filter(|part| !self.meets(part)).collect()
    }

    fn meets(&self, part: &str) -> bool {
        if let Some((name, least)) = part.split_once(">=") {
            let number = |text: &str| text.trim().parse::<u64>().ok();
            let has = self.0.get(name.trim()).and_then(|value| number(value));
            return matches!((has, number(least)), (Some(has), Some(least)) if has >= least);
        }
        if let Some((name, value)) = part.split_once('=') {
            return self
                .0
                .get(name.trim())
                .is_some_and(|has| has == value.trim());
        }
        self.0.contains_key(part)
    }

    /// Refuses a link that requires what is not there.
    ///
    /// # Errors
    ///
    /// [`LinkError::Invalid`] names what is missing and what there is.
    pub(crate) fn check(&self, provider: &str, link: &ProviderLink) -> Result<(), LinkError> {
        let lacks = self.lacks(link.value(REQUIRE).unwrap_or_default());
        if lacks.is_empty() {
            return Ok(());
        }
        Err(LinkError::invalid(format!(
            "the link requires {}, which {provider} does not have here; it has {self}",
            Listed(lacks.into_iter())
        )))
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing to require");
        }
        for (i, (name, value)) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            match value {
                "yes" => write!(f, "{comma}`{name}`")?,
                _ => write!(f, "{comma}`{name}={value}`")?,
            }
        }
        Ok(())
    }
}

/// Names with commas between them.
struct Listed<I>(I);

impl<'a, I: Iterator<Item = &'a str> + Clone> fmt::Display for Listed<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.0.clone().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}`{name}`")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_to_be_met() {
        let features = Features::new()
            .having("cas")
            .with("consistency", "linearizable")
            .with("max-value-bytes", 1024);
        for met in [
            "",
            "cas",
            "cas=yes",
            " cas , max-value-bytes>=1024",
            "consistency=linearizable",
        ] {
            assert!(features.lacks(met).is_empty(), "{met}");
        }
        for unmet in [
            "ttl",
            "consistency=eventual",
            "max-value-bytes>=1025",
            "cas>=1",
            "max-value-bytes>=many",
        ] {
            assert_eq!(features.lacks(unmet), [unmet]);
        }
        assert_eq!(
            features.to_string(),
            "`cas`, `consistency=linearizable`, `max-value-bytes=1024`"
        );
    }
}
