//! The keys of those who hold and want a lock.

use lattice_provider_sdk::lock::{Claim, LockName};

/// What the keys of all claims to a place begin with. Lengths stand before names, so that it is
/// never the beginning of another place.
pub(crate) fn of_place(prefix: &str, place: &LockName) -> String {
    let LockName { store, name } = place;
    format!("{prefix}{}:{store}/{}:{name}/", store.len(), name.len())
}

/// The key of what fences are counted from. Those of places begin with a number.
pub(crate) fn of_base(prefix: &str) -> String {
    format!("{prefix}made")
}

/// The key of a claim.
pub(crate) fn of_claim(prefix: &str, claim: &Claim) -> String {
    let mut key = of_place(prefix, &claim.place);
    key.push_str(claim.secret.expose());
    key
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_place_begins_as_another(one: (String, String), other: (String, String)) {
            prop_assume!(one != other);
            let place = |(store, name): (String, String)| LockName { store, name };
            let (one, other) = (of_place("p/", &place(one)), of_place("p/", &place(other)));
            prop_assert!(!one.starts_with(&other), "{} {}", one, other);
        }
    }
}
