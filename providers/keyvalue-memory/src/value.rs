//! What is kept under a key.

use bytes::Bytes;
use lattice_provider_sdk::keyvalue::decimal::{self, NotCounted};

/// The most digits of a number. Shorter values count as much, so that a number can grow, and a
/// short text become one, in a bucket that is full.
const MOST_DIGITS: usize = 20;

/// A value, which to everybody else is bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// As it was set.
    Bytes(Bytes),
    /// A sum: decimal text that is not written before somebody reads it.
    Number(u64),
}

impl Value {
    /// Copied, for what arrives is a part of a message and would keep all of it.
    pub(crate) fn copied(bytes: &[u8]) -> Self {
        Self::Bytes(Bytes::copy_from_slice(bytes))
    }

    pub(crate) fn bytes(&self) -> Bytes {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Number(number) => {
                Bytes::copy_from_slice(itoa::Buffer::new().format(*number).as_bytes())
            }
        }
    }

    /// How much of a bucket it takes.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len().max(MOST_DIGITS),
            Self::Number(_) => MOST_DIGITS,
        }
    }

    /// The sum of the value, if it is decimal text, and `delta`.
    pub(crate) fn plus(&self, delta: u64) -> Result<u64, NotCounted> {
        let current = match self {
            Self::Number(number) => *number,
            Self::Bytes(bytes) => decimal::number(bytes)?,
        };
        current.checked_add(delta).ok_or(NotCounted::Overflow)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_decimal_text() {
        assert_eq!(Value::copied(b"37").plus(5), Ok(42));
        assert_eq!(Value::copied(b"7").plus(0), Ok(7));
        assert_eq!(Value::Number(37).plus(5), Ok(42));
    }

    #[test]
    fn other_values_are_not_added_to() {
        for value in [&b""[..], b"seven", b"-1", b"\xff", b"7 "] {
            assert_eq!(Value::copied(value).plus(1), Err(NotCounted::NoNumber));
        }
        let largest = u64::MAX.to_string();
        let largest = Value::copied(largest.as_bytes());
        assert_eq!(largest.plus(1), Err(NotCounted::Overflow));
        assert_eq!(Value::Number(u64::MAX).plus(1), Err(NotCounted::Overflow));
    }

    #[test]
    fn the_longest_number_takes_no_more_than_any() {
        assert_eq!(u64::MAX.to_string().len(), MOST_DIGITS);
        let text = Value::copied(u64::MAX.to_string().as_bytes());
        assert_eq!(text.weight(), Value::Number(0).weight());
    }

    proptest! {
        #[test]
        fn a_number_reads_as_its_text(number: u64) {
            let text = number.to_string();
            prop_assert_eq!(Value::Number(number).bytes(), text.clone());
            prop_assert_eq!(Value::copied(text.as_bytes()).plus(0), Ok(number));
        }
    }
}
