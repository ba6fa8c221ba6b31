//! Texts in addresses.

use std::fmt::Write as _;

/// A text with every byte written as `%XX` that is not unreserved in RFC 3986, or among `kept`.
///
/// Signatures are made over this form, so it is the same for every service: upper-case digits, and
/// a space is `%20`.
#[must_use]
pub fn percent(text: &str, kept: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if plain || kept.as_bytes().contains(&byte) {
            out.push(char::from(byte));
        } else {
            // A text takes everything.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A path whose `/` stay.
#[must_use]
pub fn path(text: &str) -> String {
    percent(text, "/")
}

/// Names and values as `name=value&…`.
#[must_use]
pub fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs = pairs.into_iter();
    let pairs = pairs.map(|(name, value)| format!("{}={}", percent(name, ""), percent(value, "")));
    pairs.collect::<Vec<_>>().join("&")
}

/// Reads a text with `%XX`; `None` when the bytes are no text, or a `%` is not followed by two
/// digits. With `plus`, a `+` is a space.
#[must_use]
pub fn unpercent(text: &str, plus: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                out.push(u8::try_from(high * 16 + low).ok()?);
            }
            b'+' if plus => out.push(b' '),
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_reserved_is_written_in_digits() {
        assert_eq!(path("a b/ü~+.txt"), "a%20b/%C3%BC~%2B.txt");
        assert_eq!(query([("a", "1/2"), ("b c", "")]), "a=1%2F2&b%20c=");
        assert_eq!(unpercent("a+b%2B", true).as_deref(), Some("a b+"));
        assert_eq!(unpercent("a+b%2B", false).as_deref(), Some("a+b+"));
        for bad in ["%", "%2", "%zz", "%FF"] {
            assert_eq!(unpercent(bad, false), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(text in ".*") {
            prop_assert_eq!(unpercent(&percent(&text, ""), true), Some(text.clone()));
            prop_assert_eq!(unpercent(&path(&text), false), Some(text));
        }
    }
}
