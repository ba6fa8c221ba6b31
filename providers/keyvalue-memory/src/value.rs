//! What is kept under a key.

use bytes::Bytes;
use lattice_provider_sdk::keyvalue::decimal::{Addend, NotCounted};

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
    /// A sum below zero.
    Negative(i64),
}

impl From<i128> for Value {
    fn from(number: i128) -> Self {
        if let Ok(number) = u64::try_from(number) {
            return Self::Number(number);
        }
        // No sum is smaller than the smallest signed number.
        Self::Negative(i64::try_from(number).unwrap_or(i64::MIN))
    }
}

impl Value {
    /// Copied, for what arrives is a part of a message and would keep all of it.
    pub(crate) fn copied(bytes: &[u8]) -> Self {
        Self::Bytes(Bytes::copy_from_slice(bytes))
    }

    pub(crate) fn bytes(&self) -> Bytes {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Number(number) => decimal_text(*number),
            Self::Negative(number) => decimal_text(*number),
        }
    }

    /// How much of a bucket it takes.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len().max(MOST_DIGITS),
            Self::Number(_) | Self::Negative(_) => MOST_DIGITS,
        }
    }

    /// The sum of the value, if it is decimal text, and what is added.
    pub(crate) fn plus(&self, by: Addend) -> Result<i128, NotCounted> {
        match self {
            Self::Number(number) => by.to_number((*number).into()),
            Self::Negative(number) => by.to_number((*number).into()),
            Self::Bytes(bytes) => by.to_value(Some(bytes)),
        }
    }
}

fn decimal_text(number: impl itoa::Integer) -> Bytes {
    Bytes::copy_from_slice(itoa::Buffer::new().format(number).as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plus(value: &Value, delta: u64) -> Result<i128, NotCounted> {
        value.plus(delta.into())
    }

    #[test]
    fn values_are_decimal_text() {
        assert_eq!(plus(&Value::copied(b"37"), 5), Ok(42));
        assert_eq!(plus(&Value::copied(b"7"), 0), Ok(7));
        assert_eq!(plus(&Value::Number(37), 5), Ok(42));
        assert_eq!(plus(&Value::Negative(-3), 5), Ok(2));
    }

    #[test]
    fn other_values_are_not_added_to() {
        for value in [&b""[..], b"seven", b"1.5", b"\xff", b"7 "] {
            assert_eq!(plus(&Value::copied(value), 1), Err(NotCounted::NoNumber));
        }
        let largest = u64::MAX.to_string();
        let largest = Value::copied(largest.as_bytes());
        assert_eq!(plus(&largest, 1), Err(NotCounted::Overflow));
        assert_eq!(plus(&Value::Number(u64::MAX), 1), Err(NotCounted::Overflow));
    }

    #[test]
    fn the_longest_number_takes_no_more_than_any() {
        for longest in [u64::MAX.to_string(), i64::MIN.to_string()] {
            assert_eq!(longest.len(), MOST_DIGITS);
            let text = Value::copied(longest.as_bytes());
            assert_eq!(text.weight(), Value::Number(0).weight());
        }
    }

    proptest! {
        #[test]
        fn a_number_reads_as_its_text(number in i128::from(i64::MIN)..=i128::from(u64::MAX)) {
            let text = number.to_string();
            prop_assert_eq!(Value::from(number).bytes(), text.clone());
            if let Ok(signed) = i64::try_from(number) {
                let same = Value::copied(text.as_bytes()).plus(0_i64.into());
                prop_assert_eq!(same, Ok(signed.into()));
            }
        }
    }
}
