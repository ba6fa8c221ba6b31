//! Looking at what a component sends before a backend sees it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::backend::{Message, QueueError};

/// The most messages that one call receives.
pub(crate) const MOST_RECEIVED: usize = 256;

/// The longest lease and the longest delay that are taken at all; backends may allow less.
pub(crate) const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

const LONGEST_NAME: usize = 128;
const LONGEST_ID: usize = 256;
const MOST_ATTRIBUTES: usize = 64;

/// Refuses a message that no backend could store.
pub(crate) fn message(message: &Message) -> Result<(), QueueError> {
    let attributes = &message.attributes;
    if attributes.len() > MOST_ATTRIBUTES {
        let count = attributes.len();
        let why = format!("a message of {count} attributes, which are at most {MOST_ATTRIBUTES}");
        return Err(QueueError::Invalid(why));
    }
    let mut seen = BTreeSet::new();
    for (name, _) in attributes {
        if !is_attribute(name) {
            let why = "cannot be the name of an attribute: it has to be of at most 128 letters, digits, `-`, `_` and `.`";
            return Err(named(name, why));
        }
        // Backends keep them as headers, whose names are often the same in any case.
        if !seen.insert(name.to_ascii_lowercase()) {
            return Err(named(name, "is an attribute that is there twice"));
        }
    }
    id("dedup-id", message.dedup_id.as_deref())?;
    id("group", message.group.as_deref())?;
    match &message.content_type {
        Some(text) if text.len() > LONGEST_ID || text.chars().any(char::is_control) => {
            Err(named(text, "cannot be a content type"))
        }
        _ => Ok(()),
    }
}

fn id(what: &str, text: Option<&str>) -> Result<(), QueueError> {
    match text {
        Some(text) if text.is_empty() || text.len() > LONGEST_ID => Err(named(
            text,
            &format!("cannot be a {what}: it has to have from 1 to {LONGEST_ID} bytes"),
        )),
        _ => Ok(()),
    }
}

fn named(text: &str, why: &str) -> QueueError {
    let shown: String = text.chars().take(80).collect();
    QueueError::Invalid(format!("`{}` {why}", shown.escape_debug()))
}

fn is_attribute(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(allowed)
}

/// A delay that is not too long.
pub(crate) fn delay(millis: Option<u32>) -> Result<Duration, QueueError> {
    let delay = Duration::from_millis(millis.unwrap_or(0).into());
    if delay > LONGEST {
        let why = format!("a delay of {delay:?}, which is at most {LONGEST:?}");
        return Err(QueueError::Invalid(why));
    }
    Ok(delay)
}

/// A lease that is neither empty nor longer than `longest`, which the backend tells as `max-lease-ms`.
pub(crate) fn lease(millis: u32, longest: Duration) -> Result<Duration, QueueError> {
    let lease = Duration::from_millis(millis.into());
    if lease.is_zero() || lease > longest {
        let why = format!(
            "a lease of {lease:?}, which here is from a millisecond to {longest:?} (`max-lease-ms`)"
        );
        return Err(QueueError::Invalid(why));
    }
    Ok(lease)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(attributes: &[(&str, &str)]) -> Message {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Message {
            body: "".into(),
            content_type: None,
            attributes: attributes.iter().map(owned).collect(),
            dedup_id: None,
            group: None,
        }
    }

    #[test]
    fn what_can_be_stored_is_taken() {
        assert_eq!(message(&with(&[("a", ""), ("A-b_c.d", "ü\r\n")])), Ok(()));
    }

    #[test]
    fn what_cannot_be_stored_is_named() {
        let long = "n".repeat(129);
        let bad = [
            with(&[("", "")]),
            with(&[("a b", "")]),
            with(&[(&long, "")]),
            with(&[("a", ""), ("A", "")]),
            with(&[("a", ""); 65]),
            Message {
                group: Some(String::new()),
                ..with(&[])
            },
            Message {
                dedup_id: Some("i".repeat(257)),
                ..with(&[])
            },
            Message {
                content_type: Some("a\nb".into()),
                ..with(&[])
            },
        ];
        for bad in bad {
            assert!(
                matches!(message(&bad), Err(QueueError::Invalid(_))),
                "{bad:?}"
            );
        }
        let lease = |millis| lease(millis, LONGEST);
        assert!(lease(0).is_err() && lease(u32::MAX).is_err() && lease(1).is_ok());
        assert!(delay(Some(u32::MAX)).is_err() && delay(None) == Ok(Duration::ZERO));
    }

    #[test]
    fn the_limit_of_leases_that_is_told_is_that_of_the_backend() {
        let longest = Duration::from_secs(1500);
        assert_eq!(lease(1_500_000, longest), Ok(longest));
        for millis in [0, 1_500_001, u32::MAX] {
            let refused = lease(millis, longest).unwrap_err().text();
            let limit = "from a millisecond to 1500s (`max-lease-ms`)";
            assert!(refused.contains(limit), "{refused}");
        }
    }
}
