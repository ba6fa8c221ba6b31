//! Values that are numbers: decimal text, which stores have to add to themselves.

use std::ops::RangeInclusive;

/// Why a value cannot be added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCounted {
    /// It is something else.
    #[error("is no number")]
    NoNumber,
    /// The sum would be too large.
    #[error("would grow beyond the largest number")]
    Overflow,
    /// The sum would be too small.
    #[error("would fall below the smallest number")]
    Underflow,
}

/// What is added to a number, and which sums the caller can take: the first draft of the interface
/// counts without a sign, the second one with it, and both mean the same values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addend {
    /// What is added.
    pub delta: i128,
    least: i128,
    most: i128,
}

impl From<u64> for Addend {
    fn from(delta: u64) -> Self {
        Self {
            delta: delta.into(),
            least: 0,
            most: u64::MAX.into(),
        }
    }
}

impl From<i64> for Addend {
    fn from(delta: i64) -> Self {
        Self {
            delta: delta.into(),
            least: i64::MIN.into(),
            most: i64::MAX.into(),
        }
    }
}

impl Addend {
    /// The sums that the caller can take.
    #[must_use]
    pub fn range(self) -> RangeInclusive<i128> {
        self.least..=self.most
    }

    /// The sum with a number.
    ///
    /// # Errors
    ///
    /// [`NotCounted`] when the caller cannot take the sum.
    pub fn to_number(self, number: i128) -> Result<i128, NotCounted> {
        let sum = number.saturating_add(self.delta);
        match sum {
            _ if sum > self.most => Err(NotCounted::Overflow),
            _ if sum < self.least => Err(NotCounted::Underflow),
            _ => Ok(sum),
        }
    }

    /// The sum with a value; no value counts as zero.
    ///
    /// # Errors
    ///
    /// [`NotCounted`], with nothing changed.
    pub fn to_value(self, value: Option<&[u8]>) -> Result<i128, NotCounted> {
        self.to_number(value.map_or(Ok(0), number)?)
    }
}

/// The number that a value is.
///
/// # Errors
///
/// [`NotCounted::NoNumber`] for anything but the decimal text of a `u64` or an `i64`.
pub fn number(value: &[u8]) -> Result<i128, NotCounted> {
    let text = std::str::from_utf8(value).map_err(|_| NotCounted::NoNumber)?;
    let number = text.parse().map_err(|_| NotCounted::NoNumber)?;
    let range = i128::from(i64::MIN)..=i128::from(u64::MAX);
    match range.contains(&number) {
        true => Ok(number),
        false => Err(NotCounted::NoNumber),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(value: Option<&[u8]>, delta: u64) -> Result<i128, NotCounted> {
        Addend::from(delta).to_value(value)
    }

    fn add_signed(value: &[u8], delta: i64) -> Result<i128, NotCounted> {
        Addend::from(delta).to_value(Some(value))
    }

    #[test]
    fn values_are_decimal_text() {
        assert_eq!(add(None, 5), Ok(5));
        assert_eq!(add(Some(b"37"), 5), Ok(42));
        assert_eq!(add(Some(b"7"), 0), Ok(7));
        assert_eq!(add(Some(b"-7"), 10), Ok(3));
        assert_eq!(add_signed(b"7", -10), Ok(-3));
        assert_eq!(add_signed(b"-3", 3), Ok(0));
    }

    #[test]
    fn other_values_are_not_added_to() {
        for value in [&b""[..], b"seven", b"1.5", b"\xff", b"7 ", &[b'9'; 30]] {
            assert_eq!(add(Some(value), 1), Err(NotCounted::NoNumber));
        }
    }

    #[test]
    fn sums_are_those_that_the_caller_can_take() {
        let largest = u64::MAX.to_string();
        assert_eq!(add(Some(largest.as_bytes()), 1), Err(NotCounted::Overflow));
        assert_eq!(add(Some(b"-5"), 1), Err(NotCounted::Underflow));
        assert_eq!(add_signed(largest.as_bytes(), 1), Err(NotCounted::Overflow));
        let (least, most) = (i64::MIN.to_string(), i64::MAX.to_string());
        assert_eq!(add_signed(least.as_bytes(), -1), Err(NotCounted::Underflow));
        assert_eq!(add_signed(most.as_bytes(), 1), Err(NotCounted::Overflow));
        assert_eq!(add_signed(most.as_bytes(), i64::MIN), Ok(-1));
    }
}
