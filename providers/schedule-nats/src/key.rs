//! Keys of jobs. A bucket takes few characters, so the others are written by their bytes.

use std::fmt::Write as _;

use lattice_provider_sdk::ProviderLink;

/// Whose jobs they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    /// The component.
    pub(crate) component: String,
    /// The name of its link.
    pub(crate) link: String,
}

impl Owner {
    pub(crate) fn of(link: &ProviderLink) -> Self {
        Self {
            component: link.peer.to_string(),
            link: link.name.to_string(),
        }
    }

    /// What the keys of all its jobs begin with.
    pub(crate) fn prefix(&self) -> String {
        let mut key = String::new();
        encode(&self.component, &mut key);
        key.push('.');
        encode(&self.link, &mut key);
        key.push('.');
        key
    }

    /// The key of one of its jobs.
    pub(crate) fn key(&self, job: &str) -> String {
        let mut key = self.prefix();
        encode(job, &mut key);
        key
    }
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
    use proptest::prelude::*;

    use super::*;

    fn owner(component: &str, link: &str) -> Owner {
        Owner {
            component: component.to_owned(),
            link: link.to_owned(),
        }
    }

    proptest! {
        #[test]
        fn jobs_of_others_have_other_keys(one: [String; 3], other: [String; 3]) {
            prop_assume!(one != other);
            let key = |[component, link, job]: &[String; 3]| owner(component, link).key(job);
            prop_assert_ne!(key(&one), key(&other));
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_/=.".contains(c);
            prop_assert!(key(&one).chars().all(allowed));
        }
    }

    #[test]
    fn plain_names_stay_readable() {
        assert_eq!(owner("cart", "default").key("a.b"), "cart.default.a=2eb");
    }
}
