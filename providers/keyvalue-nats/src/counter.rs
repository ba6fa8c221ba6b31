//! Numbers that several may add to.

use std::time::Duration;

use async_nats::jetstream::kv::{self, Operation, UpdateErrorKind};
use lattice_provider_sdk::Backoff;

use crate::bucket::Failure;

/// The first and the longest pause after somebody else was faster.
const PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Why a value cannot be added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotCounted {
    /// It is something else.
    #[error("is no number")]
    NoNumber,
    /// The sum would be too large.
    #[error("would grow beyond the largest number")]
    Overflow,
}

/// Adds to the number under `stored`, a key in the form in which it is stored; tries again while
/// others change it, until the caller gives up.
pub(crate) async fn increment(
    store: &kv::Store,
    key: &str,
    stored: &str,
    delta: u64,
) -> Result<u64, Failure> {
    let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
    loop {
        let entry = store.entry(stored).await;
        let entry = entry.map_err(|e| Failure::nats(format!("could not read `{key}`"), e))?;
        let (revision, value) = match &entry {
            None => (0, None),
            Some(entry) if entry.operation == Operation::Put => {
                (entry.revision, Some(entry.value.as_ref()))
            }
            Some(marker) => (marker.revision, None),
        };
        let sum = add(value, delta).map_err(|why| Failure::Number {
            key: key.to_owned(),
            why,
        })?;
        match store.update(stored, sum.to_string().into(), revision).await {
            Ok(_) => return Ok(sum),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
                tokio::time::sleep(backoff.delay()).await;
            }
            // The sum may have been stored or not: another try could count twice.
            Err(error) => return Err(Failure::nats(format!("could not write `{key}`"), error)),
        }
    }
}

/// The sum of a value, which is decimal text, and `delta`; no value counts as zero.
fn add(value: Option<&[u8]>, delta: u64) -> Result<u64, NotCounted> {
    let current = match value {
        None => 0,
        Some(value) => std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
            .ok_or(NotCounted::NoNumber)?,
    };
    current.checked_add(delta).ok_or(NotCounted::Overflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decimal_text() {
        assert_eq!(add(None, 5), Ok(5));
        assert_eq!(add(Some(b"37"), 5), Ok(42));
        assert_eq!(add(Some(b"7"), 0), Ok(7));
    }

    #[test]
    fn other_values_are_not_added_to() {
        for value in [&b""[..], b"seven", b"-1", b"\xff", b"7 "] {
            assert_eq!(add(Some(value), 1), Err(NotCounted::NoNumber));
        }
        let largest = u64::MAX.to_string();
        assert_eq!(add(Some(largest.as_bytes()), 1), Err(NotCounted::Overflow));
    }
}
