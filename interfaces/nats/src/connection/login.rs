//! Who connects.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use async_nats::{Auth, AuthError, ConnectOptions, ServerAddr};
use lattice_core::provider::SecretText;
use nkeys::KeyPair;

use super::{ConnectionError, Creds};

/// Who connects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Login {
    /// Nobody in particular, or who the address names.
    #[default]
    Nobody,
    /// The user of a credentials file, read at every connect.
    CredsFile(PathBuf),
    /// A user token, and the seed that signs for it.
    Jwt(Creds),
    /// The key of this seed.
    Nkey(SecretText),
    /// Who knows this token.
    Token(SecretText),
    /// A user with a password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: SecretText,
    },
    /// A user whose token is replaced now and then; the latest counts at every connect.
    Renewed(Renewable),
}

/// Credentials that somebody replaces while a connection lives. Clones share them.
#[derive(Clone)]
pub struct Renewable(Arc<RwLock<Creds>>);

impl Renewable {
    /// Begins with `creds`.
    #[must_use]
    pub fn new(creds: Creds) -> Self {
        Self(Arc::new(RwLock::new(creds)))
    }

    /// Replaces them, for the next connect.
    pub fn renew(&self, creds: Creds) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = creds;
    }

    /// The latest.
    #[must_use]
    pub fn latest(&self) -> Creds {
        let creds = self.0.read().unwrap_or_else(PoisonError::into_inner);
        creds.clone()
    }
}

impl fmt::Debug for Renewable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewable(<hidden>)")
    }
}

impl PartialEq for Renewable {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Renewable {}

impl Login {
    /// A token with its seed, a seed alone for an nkey login, or nobody.
    ///
    /// # Errors
    ///
    /// [`ConnectionError::NoSeed`] for a token alone.
    pub fn of(jwt: &SecretText, seed: &SecretText) -> Result<Self, ConnectionError> {
        match (jwt.is_empty(), seed.is_empty()) {
            (true, true) => Ok(Self::Nobody),
            (true, false) => Ok(Self::Nkey(seed.clone())),
            (false, true) => Err(ConnectionError::NoSeed),
            (false, false) => Ok(Self::Jwt(Creds {
                jwt: jwt.clone(),
                seed: seed.clone(),
            })),
        }
    }

    /// The user and password, or the token, of the first address that has one: the client itself
    /// leaves them aside.
    pub(super) fn in_addresses(servers: &[ServerAddr]) -> Self {
        let Some(address) = servers.iter().find(|address| address.has_user_pass()) else {
            return Self::Nobody;
        };
        let user = plain(address.username().unwrap_or_default());
        match address.password() {
            Some(password) => Self::Password {
                user,
                password: SecretText::new(plain(password)),
            },
            None => Self::Token(SecretText::new(user)),
        }
    }

    /// The account of a credentials file, as far as it tells.
    pub(super) fn account(&self) -> Option<String> {
        match self {
            Self::CredsFile(path) => Creds::read(path).ok()?.account(),
            _ => None,
        }
    }

    /// Whether it could work, as far as can be told without a server. A credentials file has to be that of
    /// `account`, where there is one.
    pub(super) fn check(&self, account: Option<&str>) -> Result<(), ConnectionError> {
        let seed = match self {
            Self::Nobody | Self::Token(_) | Self::Password { .. } => return Ok(()),
            Self::CredsFile(path) => Creds::read_again(path, account)?.seed,
            Self::Jwt(creds) => creds.seed.clone(),
            Self::Nkey(seed) => seed.clone(),
            Self::Renewed(renewable) => renewable.latest().seed,
        };
        let key = KeyPair::from_seed(seed.expose());
        key.map(drop).map_err(ConnectionError::Seed)
    }

    /// Options with this login, whose credentials file has to stay that of `account`.
    pub(super) fn options(&self, account: Option<String>) -> ConnectOptions {
        match self {
            Self::Nobody => ConnectOptions::new(),
            Self::Token(token) => ConnectOptions::with_token(token.expose().to_owned()),
            Self::Password { user, password } => {
                ConnectOptions::with_user_and_password(user.clone(), password.expose().to_owned())
            }
            login => {
                let login = login.clone();
                ConnectOptions::with_auth_callback(move |nonce| {
                    let auth = login.sign(&nonce, account.as_deref());
                    async move { auth }
                })
            }
        }
    }

    /// What the server is told, asked anew at every connect.
    fn sign(&self, nonce: &[u8], account: Option<&str>) -> Result<Auth, AuthError> {
        let (jwt, seed) = match self {
            Self::Nkey(seed) => (None, seed.clone()),
            Self::CredsFile(path) => {
                let creds = Creds::read_again(path, account).map_err(AuthError::new)?;
                (Some(creds.jwt), creds.seed)
            }
            Self::Jwt(creds) => (Some(creds.jwt.clone()), creds.seed.clone()),
            Self::Renewed(renewable) => {
                let creds = renewable.latest();
                (Some(creds.jwt), creds.seed)
            }
            Self::Nobody | Self::Token(_) | Self::Password { .. } => return Ok(Auth::new()),
        };
        let key = KeyPair::from_seed(seed.expose()).map_err(AuthError::new)?;
        let mut auth = Auth::new();
        auth.signature = Some(key.sign(nonce).map_err(AuthError::new)?);
        auth.nkey = jwt.is_none().then(|| key.public_key());
        auth.jwt = jwt.map(|jwt| jwt.expose().to_owned());
        Ok(auth)
    }
}

/// A part of an address as it was before `%` stood for what addresses do not take.
fn plain(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.first_chunk::<2>().filter(|_| *first == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_addresses_are_decoded() {
        assert_eq!(plain("a%40b%c3%bc"), "a@bü");
        assert_eq!(plain("100%"), "100%");
        assert_eq!(plain("%zz%4"), "%zz%4");
    }

    #[test]
    fn logins_stand_in_addresses_too() {
        let of = |address: &str| Login::in_addresses(&[address.parse().unwrap()]);
        assert_eq!(of("nats://a:1"), Login::Nobody);
        assert_eq!(of("nats://word@a:1"), Login::Token(SecretText::new("word")));
        let password = Login::Password {
            user: "me".to_owned(),
            password: SecretText::new("a@b"),
        };
        assert_eq!(of("nats://me:a%40b@a:1"), password);
        assert!(!format!("{password:?}").contains("a@b"));
    }

    #[test]
    fn credentials_that_cannot_work_are_refused() {
        let login = |jwt: &str, seed: &str| {
            Login::of(&SecretText::new(jwt), &SecretText::new(seed))
                .and_then(|login| login.check(None))
        };
        assert!(login("", "").is_ok());
        assert!(matches!(login("token", ""), Err(ConnectionError::NoSeed)));
        assert!(matches!(
            login("token", "no seed"),
            Err(ConnectionError::Seed(_))
        ));
        assert!(matches!(
            login("", "no seed"),
            Err(ConnectionError::Seed(_))
        ));
        let seed = KeyPair::new_user().seed().unwrap();
        assert!(login("token", &seed).is_ok());
    }

    #[test]
    fn the_latest_credentials_sign() {
        let creds = |jwt: &str| Creds {
            jwt: SecretText::new(jwt),
            seed: SecretText::new(KeyPair::new_user().seed().unwrap()),
        };
        let renewable = Renewable::new(creds("one"));
        let login = Login::Renewed(renewable.clone());
        assert_eq!(login.sign(b"n", None).unwrap().jwt.as_deref(), Some("one"));
        renewable.renew(creds("two"));
        assert_eq!(login.sign(b"n", None).unwrap().jwt.as_deref(), Some("two"));
        assert!(!format!("{login:?}").contains("two"));
    }
}
