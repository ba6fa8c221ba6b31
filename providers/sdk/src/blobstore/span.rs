//! Which bytes of an object are meant.

use std::ops::Range;

use super::BlobError;

/// The bytes from one to another, both of which belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    start: u64,
    end: u64,
}

impl Span {
    /// All bytes.
    pub const ALL: Self = Self {
        start: 0,
        end: u64::MAX,
    };

    /// The bytes from `start` to `end`.
    ///
    /// # Errors
    ///
    /// [`BlobError::Reversed`] when the end comes first.
    pub fn new(start: u64, end: u64) -> Result<Self, BlobError> {
        match start <= end {
            true => Ok(Self { start, end }),
            false => Err(BlobError::Reversed { start, end }),
        }
    }

    /// The first byte.
    #[must_use]
    pub fn start(self) -> u64 {
        self.start
    }

    /// The last byte, which may be past that of the object.
    #[must_use]
    pub fn end(self) -> u64 {
        self.end
    }

    /// Whether it is the whole of any object.
    #[must_use]
    pub fn is_all(self) -> bool {
        self == Self::ALL
    }

    /// The bytes that an object of `size` bytes has of it; an empty range when it has none. The end
    /// of the range is the first byte that does not belong to it.
    #[must_use]
    pub fn within(self, size: u64) -> Range<u64> {
        let end = self.end.saturating_add(1).min(size);
        self.start.min(end)..end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(start: u64, end: u64, size: u64) -> Range<u64> {
        Span::new(start, end).unwrap().within(size)
    }

    #[test]
    fn both_ends_belong_to_it() {
        assert_eq!(within(0, 0, 10), 0..1);
        assert_eq!(within(2, 4, 10), 2..5);
        assert_eq!(within(9, 9, 10), 9..10);
    }

    #[test]
    fn what_the_object_does_not_have_is_left_out() {
        assert_eq!(within(0, u64::MAX, 10), 0..10);
        assert_eq!(within(8, 10, 10), 8..10);
        assert!(within(10, 12, 10).is_empty());
        assert!(within(u64::MAX, u64::MAX, 10).is_empty());
        assert!(within(0, 5, 0).is_empty());
    }

    #[test]
    fn an_end_before_the_start_is_refused() {
        let error = Span::new(5, 4).unwrap_err().to_string();
        assert_eq!(error, "the range begins at byte 5 and ends before it, at 4");
        assert!(Span::ALL.is_all());
    }
}
