//! Keys of components as texts of PostgreSQL, which cannot hold the character zero.
//!
//! Texts without it and without a backslash are stored as they are. In others the character zero is
//! stored as `\0` and a backslash as `\\`.

use std::borrow::Cow;

/// The longest key and bucket name together, in bytes as they are stored: what fits into an index.
pub const LONGEST: usize = 2_600;

/// The form in which a text is stored.
#[must_use]
pub fn encode(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', '\\']) {
        return text.into();
    }
    text.replace('\\', r"\\").replace('\0', r"\0").into()
}

/// The text that is stored as `stored`. What this module would not have stored like that is taken
/// as it is.
#[must_use]
pub fn decode(stored: &str) -> Cow<'_, str> {
    if !stored.contains('\\') {
        return stored.into();
    }
    let mut text = String::with_capacity(stored.len());
    let mut rest = stored.chars();
    while let Some(c) = rest.next() {
        let next = if c == '\\' { rest.next() } else { Some(c) };
        match (c, next) {
            ('\\', Some('0')) => text.push('\0'),
            ('\\', Some('\\')) => text.push('\\'),
            ('\\', _) => return stored.into(),
            _ => text.push(c),
        }
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn most_texts_are_stored_as_they_are() {
        for text in ["", "user:1", "a b", "%_'\"", "ключ", "0"] {
            assert_eq!(encode(text), text);
            assert_eq!(decode(text), text);
        }
        assert_eq!(encode("a\0b"), r"a\0b");
        assert_eq!(encode(r"a\0b"), r"a\\0b");
        assert_eq!(decode(r"a\x"), r"a\x");
        assert_eq!(decode("a\\"), "a\\");
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in "[\0\\\\0a-c]{0,12}|\\PC{0,32}") {
            let stored = encode(&text).into_owned();
            prop_assert!(!stored.contains('\0'));
            prop_assert_eq!(decode(&stored), text);
        }
    }
}
