//! Which lock, and who has a claim to it.

use lattice_core::provider::SecretText;

use super::backend::LockError;

/// How long the names of locks and of stores may be, in bytes.
const LONGEST_NAME: usize = 512;
const LONGEST_STORE: usize = 128;
/// How many random bytes a secret has.
const SECRET: usize = 16;

/// One lock among all of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LockName {
    /// The store; empty for the one that a link calls its own.
    pub store: String,
    /// The name within it.
    pub name: String,
}

impl LockName {
    /// Reads what a component says through the link `link_name`: the empty store, `default` and the
    /// name of the link are the link's own.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidName`]
    pub fn read(store: &str, name: &str, link_name: &str) -> Result<Self, LockError> {
        let invalid = |what: String| Err(LockError::InvalidName(what));
        if name.is_empty() {
            return invalid("the name of a lock is empty".to_owned());
        }
        if name.len() > LONGEST_NAME {
            return invalid(format!(
                "the name of a lock has {} bytes, up to {LONGEST_NAME} are possible",
                name.len()
            ));
        }
        if store.len() > LONGEST_STORE {
            return invalid(format!(
                "the name of a store has {} bytes, up to {LONGEST_STORE} are possible",
                store.len()
            ));
        }
        let is_own = store == "default" || store == link_name;
        Ok(Self {
            store: if is_own {
                String::new()
            } else {
                store.to_owned()
            },
            name: name.to_owned(),
        })
    }
}

/// A place, who wants or has it, and the secret that proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Which lock.
    pub place: LockName,
    /// The component.
    pub owner: String,
    /// What only the one who made the claim can know: letters and digits.
    pub secret: SecretText,
}

impl Claim {
    /// A new claim, which no other equals.
    ///
    /// # Errors
    ///
    /// [`LockError::Unavailable`] when the system gives no random bytes.
    pub fn new(place: LockName, owner: impl Into<String>) -> Result<Self, LockError> {
        let secret = crate::random::hex(SECRET)
            .map_err(|e| LockError::unavailable(format!("there are no random numbers: {e}")))?;
        Ok(Self {
            place,
            owner: owner.into(),
            secret: SecretText::new(secret),
        })
    }

    /// The claim behind a token.
    ///
    /// # Errors
    ///
    /// [`LockError::NotHeld`] when the token is none.
    pub fn of_token(
        store: &str,
        token: &str,
        link_name: &str,
        owner: impl Into<String>,
    ) -> Result<Self, LockError> {
        let (secret, name) = token.split_once('.').ok_or(LockError::NotHeld)?;
        let is_secret = |text: &str| {
            text.len() == 2 * SECRET && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        if !is_secret(secret) {
            return Err(LockError::NotHeld);
        }
        let place = LockName::read(store, name, link_name).map_err(|_| LockError::NotHeld)?;
        Ok(Self {
            place,
            owner: owner.into(),
            secret: SecretText::new(secret),
        })
    }

    /// What a component renews and releases with: the name is in it, since those who renew do not
    /// say it again.
    #[must_use]
    pub fn token(&self) -> String {
        format!("{}.{}", self.secret.expose(), self.place.name)
    }

    /// Whether a secret and an owner that were stored are those of the claim.
    #[must_use]
    pub fn is_of(&self, secret: &str, owner: &str) -> bool {
        // Nobody learns a secret by the time that this takes: it says no to other owners anyway.
        self.owner == owner && self.secret.expose() == secret
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(name: &str) -> Claim {
        Claim::new(LockName::read("", name, "main").unwrap(), "cart").unwrap()
    }

    #[test]
    fn a_token_leads_back_to_its_claim() {
        for name in ["a", "a.b/c d", "ü", "."] {
            let claim = claim(name);
            let token = claim.token();
            for store in ["", "default", "main"] {
                let again = Claim::of_token(store, &token, "main", "cart").unwrap();
                assert_eq!(again, claim);
            }
            let other = Claim::of_token("other", &token, "main", "cart").unwrap();
            assert_eq!(other.place.store, "other");
        }
        assert_ne!(claim("a").token(), claim("a").token());
    }

    #[test]
    fn what_is_no_token_is_not_held() {
        for token in ["", ".", "abc", "abc.a", &format!("{}.", "a".repeat(32))] {
            let read = Claim::of_token("", token, "main", "cart");
            assert_eq!(read, Err(LockError::NotHeld), "{token}");
        }
    }

    #[test]
    fn names_have_bounds() {
        assert!(LockName::read("", "", "x").is_err());
        assert!(LockName::read("", &"a".repeat(513), "x").is_err());
        assert!(LockName::read(&"a".repeat(129), "a", "x").is_err());
        assert!(LockName::read(&"a".repeat(128), &"a".repeat(512), "x").is_ok());
    }

    #[test]
    fn the_secret_is_not_shown() {
        let claim = claim("a");
        assert!(!format!("{claim:?}").contains(claim.secret.expose()));
    }
}
