//! Values that are numbers: decimal text, which stores have to add to themselves.

/// Why a value cannot be added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCounted {
    /// It is something else.
    #[error("is no number")]
    NoNumber,
    /// The sum would be too large.
    #[error("would grow beyond the largest number")]
    Overflow,
}

/// The number that a value is.
///
/// # Errors
///
/// [`NotCounted::NoNumber`] for anything but the decimal text of a `u64`.
pub fn number(value: &[u8]) -> Result<u64, NotCounted> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or(NotCounted::NoNumber)
}

/// The sum of a value and `delta`; no value counts as zero.
///
/// # Errors
///
/// [`NotCounted`], with nothing changed.
pub fn add(value: Option<&[u8]>, delta: u64) -> Result<u64, NotCounted> {
    let current = value.map_or(Ok(0), number)?;
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
        assert_eq!(
            add(Some(u64::MAX.to_string().as_bytes()), 1),
            Err(NotCounted::Overflow)
        );
    }
}
