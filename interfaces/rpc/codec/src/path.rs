//! Where in a parameter or result list a stream or future stands.

use std::fmt;
use std::str::FromStr;

/// The position of a pending stream or future: the number of the parameter or result, then one
/// index for each enclosing record or tuple (protocol page, 4.6).
///
/// Options, results and variants add no index. At most [`Path::MAX_LEN`] indices are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(Box<[u32]>);

/// Why text is not a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a path of up to {max} decimal indices joined by dots", max = Path::MAX_LEN)]
pub struct PathError {
    /// The text that was refused.
    pub text: String,
}

impl Path {
    /// The most indices a path may have; no published interface comes near it.
    pub const MAX_LEN: usize = 16;

    /// Builds a path from its indices, outermost first.
    pub fn new(indices: impl Into<Box<[u32]>>) -> Self {
        Self(indices.into())
    }

    /// The indices, outermost first.
    pub fn indices(&self) -> &[u32] {
        &self.0
    }

    /// Appends one index, as for a field of the value at this path.
    #[must_use]
    pub fn child(&self, index: u32) -> Self {
        let mut indices = self.0.to_vec();
        indices.push(index);
        Self(indices.into())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, index) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            write!(f, "{index}")?;
        }
        Ok(())
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || PathError {
            text: text.chars().take(64).collect(),
        };
        let mut indices = Vec::new();
        for token in text.split('.') {
            // `parse` alone would accept a leading plus sign.
            if indices.len() == Self::MAX_LEN || !token.bytes().all(|b| b.is_ascii_digit()) {
                return Err(bad());
            }
            indices.push(token.parse().map_err(|_| bad())?);
        }
        Ok(Self(indices.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_indices_agree() {
        let path: Path = "0.12.3".parse().unwrap();
        assert_eq!(path.indices(), [0, 12, 3]);
        assert_eq!(path.to_string(), "0.12.3");
        assert_eq!(path.child(7).to_string(), "0.12.3.7");
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            ".",
            "a",
            "1.",
            "+1",
            "4294967296",
            "1..2",
            &"1.".repeat(40),
        ] {
            assert!(text.parse::<Path>().is_err(), "{text:?}");
        }
    }
}
