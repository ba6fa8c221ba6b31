//! Keys of locks. A bucket takes few characters, so the others are written by their bytes.

use std::fmt::Write as _;

use lattice_provider_sdk::lock::LockName;

/// The key of a place: its store and its name with a dot between them.
pub(crate) fn of(place: &LockName) -> String {
    let mut key = String::with_capacity(place.store.len() + place.name.len() + 3);
    // The dot of an empty store would stand at the beginning, which is forbidden.
    key.push('s');
    encode(&place.store, &mut key);
    key.push('.');
    encode(&place.name, &mut key);
    key
}

fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/') {
            into.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(into, "={byte:02x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn place(store: &str, name: &str) -> LockName {
        LockName {
            store: store.to_owned(),
            name: name.to_owned(),
        }
    }

    proptest! {
        #[test]
        fn every_key_is_one_that_a_bucket_takes(store: String, name in ".+") {
            let key = of(&place(&store, &name));
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_/=.".contains(c);
            prop_assert!(key.chars().all(allowed));
            prop_assert!(!key.starts_with('.') && !key.ends_with('.'));
        }

        #[test]
        fn different_places_have_different_keys(places: Vec<(String, String)>) {
            let mut keys = HashMap::new();
            for (store, name) in places {
                let at = place(&store, &name);
                if let Some(other) = keys.insert(of(&at), at.clone()) {
                    prop_assert_eq!(other, at);
                }
            }
        }
    }

    #[test]
    fn plain_names_stay_readable() {
        assert_eq!(of(&place("", "orders/7")), "s.orders/7");
        assert_eq!(of(&place("a.b", "ü")), "sa=2eb.=c3=bc");
    }
}
