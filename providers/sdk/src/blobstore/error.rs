//! Why something could not be done with a blob.

use std::time::Duration;

use lattice_core::reply::message_chain;

use super::ObjectId;
use crate::backends::NoLink;

/// How much of a name an error shows.
const SHOWN: usize = 120;

/// Why an operation failed. On the wire it is its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// The container is not there.
    #[error("there is no container `{0}`; create it first")]
    NoContainer(String),
    /// The object is not there.
    #[error("there is no object {0}")]
    NoObject(ObjectId),
    /// The backend has no such names.
    #[error("`{name}` cannot be the name of {of}: {rule}")]
    Name {
        /// `a container` or `an object`.
        of: &'static str,
        /// The name, or the beginning of it.
        name: String,
        /// What names have to be like.
        rule: String,
    },
    /// A range ends before it begins.
    #[error("the range begins at byte {start} and ends before it, at {end}")]
    Reversed {
        /// Its start.
        start: u64,
        /// Its end.
        end: u64,
    },
    /// The object would be larger than allowed.
    #[error("the object is larger than the {limit} bytes that {whose} allows")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
        /// Whose limit it is, such as `the link (max_object_bytes)`.
        whose: &'static str,
    },
    /// The backend has no room.
    #[error("there is no room for the object: {0}")]
    Full(String),
    /// The backend does not allow it.
    #[error("the backend does not allow it: {0}")]
    Denied(String),
    /// The data of a write came to no proper end, so that nothing was stored.
    #[error("the data broke off and nothing was stored: {0}")]
    BrokeOff(String),
    /// Nothing moved for too long.
    #[error("{who} gave no data for {}", shown(*.after))]
    Stalled {
        /// `the caller` or `the backend`.
        who: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// Other uploads hold all that the provider has for the parts of what is written.
    #[error("other writes held all the memory for parts of large objects for {}; write it again when there are fewer at once", shown(*.after))]
    Busy {
        /// For how long none of them went on.
        after: Duration,
    },
    /// The backend is not there, or did not answer.
    #[error("the backend did not do it: {0}")]
    Unavailable(String),
    /// Some of several objects are left.
    #[error("{failed} of {of} objects were not deleted; the first because {why}")]
    Some {
        /// How many.
        failed: usize,
        /// Of how many.
        of: usize,
        /// What went wrong with the first of them.
        why: String,
    },
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

fn shown(time: Duration) -> String {
    format!("{time:?}")
}

impl BlobError {
    /// The name of a container that the backend forbids.
    pub fn container_name(name: &str, rule: impl Into<String>) -> Self {
        Self::Name {
            of: "a container",
            name: name.chars().take(SHOWN).collect(),
            rule: rule.into(),
        }
    }

    /// The name of an object that the backend forbids.
    pub fn object_name(name: &str, rule: impl Into<String>) -> Self {
        Self::Name {
            of: "an object",
            name: name.chars().take(SHOWN).collect(),
            rule: rule.into(),
        }
    }

    /// The backend failed, with the causes of its error.
    pub fn unavailable(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Unavailable(message_chain(error))
    }

    /// Anything else, with the causes of an error.
    pub fn other(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Other(message_chain(error))
    }

    /// How a deletion of several objects ended.
    ///
    /// # Errors
    ///
    /// [`BlobError::Some`] when something failed.
    pub fn of_some(of: usize, failed: Vec<Self>) -> Result<(), Self> {
        match failed.first() {
            None => Ok(()),
            Some(first) => Err(Self::Some {
                failed: failed.len(),
                of,
                why: first.to_string(),
            }),
        }
    }

    /// Whether it is what a caller may well ask for, which is not worth a warning.
    pub(super) fn is_usual(&self) -> bool {
        matches!(self, Self::NoContainer(_) | Self::NoObject(_))
    }
}

impl From<NoLink> for BlobError {
    fn from(error: NoLink) -> Self {
        Self::Other(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_shown_in_part() {
        let error = BlobError::container_name(&"x".repeat(5000), "it is too long");
        assert!(error.to_string().len() < 200);
    }

    #[test]
    fn some_failures_name_the_first() {
        assert_eq!(BlobError::of_some(3, Vec::new()), Ok(()));
        let failed = vec![BlobError::Denied("no".into()), BlobError::Other("b".into())];
        let error = BlobError::of_some(3, failed).unwrap_err().to_string();
        assert!(
            error.starts_with("2 of 3 objects were not deleted"),
            "{error}"
        );
    }
}
