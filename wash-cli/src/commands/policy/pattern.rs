//! Texts with `*` for anything.

use serde::Deserialize;

/// A text in which each `*` stands for any characters, or none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(super) struct Pattern(String);

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Pattern {
    pub(super) fn fits(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else {
            return false;
        };
        let mut parts: Vec<&str> = parts.collect();
        let Some(last) = parts.pop() else {
            return rest.is_empty();
        };
        for part in parts {
            // The earliest place leaves the most for what follows.
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

/// One pattern or several, of which one has to fit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Patterns {
    One(Pattern),
    Several(Vec<Pattern>),
}

impl Patterns {
    pub(super) fn fit(&self, text: &str) -> bool {
        match self {
            Self::One(pattern) => pattern.fits(text),
            Self::Several(patterns) => patterns.iter().any(|pattern| pattern.fits(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything_or_nothing() {
        for (pattern, text, fits) in [
            ("cart", "cart", true),
            ("cart", "cart2", false),
            ("cart*", "cart", true),
            ("*cart", "my-cart", true),
            ("*cart", "cart2", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("wasi:keyvalue/*", "wasi:keyvalue/store@0.2.0", true),
            ("**", "x", true),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(
                Pattern(pattern.to_owned()).fits(text),
                fits,
                "{pattern} {text}"
            );
        }
    }
}
