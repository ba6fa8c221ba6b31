//! Keys of components as keys of NATS.
//!
//! NATS allows letters, digits and `-/_=.` in a key, and no empty part between dots. Keys of that
//! kind are stored as they are, so that data of other programs is found. In all other keys each
//! byte that is not allowed becomes `=x` and two upper-case hexadecimal digits: `user:1` is stored
//! as `user=x3A1`. So that this can be undone, a `=` in front of what looks like such an escape is
//! escaped too. The empty key is stored as `=x`.

/// What the empty key is stored as.
const EMPTY: &str = "=x";

/// The longest stored key, in bytes. A subject with it still fits into a line of the NATS protocol,
/// which has 4,096.
pub const LONGEST: usize = 3_072;

/// The form in which a key is stored.
///
/// # Errors
///
/// [`KeyTooLong`] when that form is longer than [`LONGEST`].
pub fn encode(key: &str) -> Result<String, KeyTooLong> {
    let stored = match key {
        "" => EMPTY.to_owned(),
        EMPTY => "=x3Dx".to_owned(),
        _ => escape(key.as_bytes()),
    };
    if stored.len() > LONGEST {
        return Err(KeyTooLong {
            bytes: stored.len(),
        });
    }
    Ok(stored)
}

/// The key that is stored as `stored`. What this module would not have stored like that is taken
/// as it is.
#[must_use]
pub fn decode(stored: &str) -> String {
    if stored == EMPTY {
        return String::new();
    }
    if !stored.contains(EMPTY) {
        return stored.to_owned();
    }
    String::from_utf8(unescape(stored.as_bytes()))
        .ok()
        .filter(|key| encode(key).is_ok_and(|again| again == stored))
        .unwrap_or_else(|| stored.to_owned())
}

/// A key has more bytes than NATS can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key takes {bytes} bytes when stored, more than the {LONGEST} that NATS can take")]
pub struct KeyTooLong {
    bytes: usize,
}

fn escape(key: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut stored = String::with_capacity(key.len() + 8);
    for (at, &byte) in key.iter().enumerate() {
        if stays(key, at) {
            stored.push(char::from(byte));
        } else {
            stored.push_str(EMPTY);
            stored.push(char::from(HEX[usize::from(byte >> 4)]));
            stored.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    stored
}

/// Whether the byte at `at` is stored as it is.
fn stays(key: &[u8], at: usize) -> bool {
    match key[at] {
        b'-' | b'/' | b'_' => true,
        b'.' => at > 0 && at + 1 < key.len() && key[at - 1] != b'.',
        b'=' => escaped_byte(&key[at..]).is_none(),
        byte => byte.is_ascii_alphanumeric(),
    }
}

/// The byte that an escape at the start of `text` stands for.
fn escaped_byte(text: &[u8]) -> Option<u8> {
    let [b'=', b'x', high, low, ..] = text else {
        return None;
    };
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    Some(digit(*high)? << 4 | digit(*low)?)
}

fn unescape(mut stored: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(stored.len());
    while let Some(&byte) = stored.first() {
        let (byte, taken) = escaped_byte(stored).map_or((byte, 1), |escaped| (escaped, 4));
        key.push(byte);
        stored = &stored[taken..];
    }
    key
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allowed(stored: &str) -> bool {
        !stored.is_empty()
            && stored.split('.').all(|part| !part.is_empty())
            && stored
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-/_=.".contains(&b))
    }

    #[test]
    fn allowed_keys_are_stored_as_they_are() {
        for key in [
            "a",
            "a.b/c-d_e=f",
            "id=20",
            "=",
            "==",
            "pad==",
            "=x4",
            "=xaf",
            "_kv",
        ] {
            assert_eq!(encode(key).unwrap(), key);
            assert_eq!(decode(key), key);
        }
    }

    #[test]
    fn other_keys_are_escaped() {
        let cases = [
            ("user:1", "user=x3A1"),
            ("a b", "a=x20b"),
            ("a.*.>", "a.=x2A.=x3E"),
            ("ä", "=xC3=xA4"),
            (".a..b.", "=x2Ea.=x2Eb=x2E"),
            ("...", "=x2E=x2E=x2E"),
            ("", "=x"),
            ("=x", "=x3Dx"),
            ("=x41", "=x3Dx41"),
            ("=x:", "=x=x3A"),
        ];
        for (key, stored) in cases {
            assert_eq!(encode(key).unwrap(), stored, "{key}");
            assert_eq!(decode(stored), key);
        }
    }

    #[test]
    fn what_others_stored_is_listed_as_it_is() {
        for stored in ["=x41", "a=xFFb", "=x2Ea=x2Eb"] {
            assert_eq!(decode(stored), stored);
        }
    }

    #[test]
    fn keys_that_nats_cannot_take_are_refused() {
        assert!(encode(&"k".repeat(LONGEST)).is_ok());
        let error = encode(&":".repeat(LONGEST)).unwrap_err();
        assert!(error.to_string().contains("12288"));
    }

    proptest! {
        #[test]
        fn every_key_comes_back(key in "\\PC{0,64}|[.=x:A-F0-9]{0,12}") {
            let stored = encode(&key).unwrap();
            prop_assert!(allowed(&stored), "{stored}");
            prop_assert_eq!(decode(&stored), key);
        }

        #[test]
        fn only_what_has_to_change_changes(key in "[.=x:A-F0-9]{1,12}") {
            let changed = encode(&key).unwrap() != key;
            let had_to = !allowed(&key) || key.contains("=x");
            prop_assert!(!changed || had_to);
        }

        #[test]
        fn any_stored_key_can_be_listed(stored in "[-/_=.xA-F0-9]{1,24}") {
            let _ = decode(&stored);
        }
    }
}
