//! Tokens of NATS itself (JWT v2): operators, accounts and users.
//!
//! Their header and their claims differ from those of components and providers, so they have an
//! encoder of their own. Reading them is left to the NATS server.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use crate::keys::{KeyError, KeyKind, PublicKey, SigningKey};
use crate::token::{MAX_TOKEN_BYTES, epoch_seconds};

/// The version of the claims.
const VERSION: u8 = 2;
/// No limit.
const ANY: i64 = -1;

/// Why a token of NATS was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NatsTokenError {
    /// A key is of another kind than needed, or none.
    #[error("the {part} of the token cannot be used")]
    Key {
        /// Whose key it is.
        part: &'static str,
        /// Why.
        source: KeyError,
    },
    /// The claims could not be written.
    #[error("could not write the claims of the token")]
    Json(#[source] serde_json::Error),
    /// Servers would not read it.
    #[error("token of {bytes} bytes is over the limit of {MAX_TOKEN_BYTES}")]
    TooLong {
        /// The length.
        bytes: usize,
    },
}

/// What a user may publish and subscribe to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    /// What may be published; everything when this and `subscribe` are `None`.
    pub publish: Option<Vec<String>>,
    /// What may be subscribed to.
    pub subscribe: Option<Vec<String>>,
}

/// A user of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// Shown by the server.
    pub name: String,
    /// The public key of the user.
    pub key: String,
    /// The public key of the account, where a signing key of it signs.
    pub account: Option<String>,
    /// When it ends, in seconds since 1970; `None` for never.
    pub expires: Option<u64>,
    /// What it may do.
    pub permissions: Permissions,
}

#[derive(Serialize)]
struct Claims<T> {
    jti: String,
    iat: u64,
    iss: String,
    name: String,
    sub: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<u64>,
    nats: T,
}

#[derive(Serialize)]
struct UserPart<'a> {
    #[serde(rename = "pub")]
    publish: Subjects<'a>,
    #[serde(rename = "sub")]
    subscribe: Subjects<'a>,
    subs: i64,
    data: i64,
    payload: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer_account: Option<&'a str>,
    #[serde(rename = "type")]
    kind: &'static str,
    version: u8,
}

#[derive(Serialize)]
struct Subjects<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    allow: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deny: Option<[&'static str; 1]>,
}

impl<'a> Subjects<'a> {
    /// An empty list of subjects would mean all of them to the server.
    fn of(allowed: Option<&'a [String]>) -> Self {
        match allowed {
            Some([]) => Self {
                allow: None,
                deny: Some([">"]),
            },
            allow => Self { allow, deny: None },
        }
    }
}

/// Makes the token of a user; `signer` is the account's key, or one of its signing keys.
///
/// # Errors
///
/// [`NatsTokenError`] for keys of another kind.
pub fn user_token(user: &User, signer: &SigningKey) -> Result<String, NatsTokenError> {
    expect(signer, KeyKind::Account)?;
    check("subject", &user.key, KeyKind::User)?;
    if let Some(account) = &user.account {
        check("account", account, KeyKind::Account)?;
    }
    let permissions = &user.permissions;
    let nats = UserPart {
        publish: Subjects::of(permissions.publish.as_deref()),
        subscribe: Subjects::of(permissions.subscribe.as_deref()),
        subs: ANY,
        data: ANY,
        payload: ANY,
        issuer_account: user.account.as_deref(),
        kind: "user",
        version: VERSION,
    };
    sign(&user.name, &user.key, user.expires, nats, signer)
}

/// An account and who may sign its users.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Shown by the server.
    pub name: String,
    /// The public key of the account.
    pub key: String,
    /// Further public keys that sign its users.
    pub signing_keys: Vec<String>,
    /// Whether it has JetStream.
    pub jetstream: bool,
}

#[derive(Serialize)]
struct AccountPart<'a> {
    limits: Limits,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    signing_keys: &'a [String],
    default_permissions: DefaultPermissions,
    #[serde(rename = "type")]
    kind: &'static str,
    version: u8,
}

#[derive(Serialize)]
struct DefaultPermissions {
    #[serde(rename = "pub")]
    publish: Subjects<'static>,
    #[serde(rename = "sub")]
    subscribe: Subjects<'static>,
}

#[derive(Serialize)]
struct Limits {
    subs: i64,
    data: i64,
    payload: i64,
    imports: i64,
    exports: i64,
    wildcards: bool,
    conn: i64,
    leaf: i64,
    mem_storage: i64,
    disk_storage: i64,
    streams: i64,
    consumer: i64,
}

/// Makes the token of an account without limits; `signer` is the operator's key.
///
/// # Errors
///
/// [`NatsTokenError`] for keys of another kind.
pub fn account_token(account: &Account, signer: &SigningKey) -> Result<String, NatsTokenError> {
    expect(signer, KeyKind::Operator)?;
    check("subject", &account.key, KeyKind::Account)?;
    for key in &account.signing_keys {
        check("signing key", key, KeyKind::Account)?;
    }
    let stored = if account.jetstream { ANY } else { 0 };
    let nats = AccountPart {
        limits: Limits {
            subs: ANY,
            data: ANY,
            payload: ANY,
            imports: ANY,
            exports: ANY,
            wildcards: true,
            conn: ANY,
            leaf: ANY,
            mem_storage: stored,
            disk_storage: stored,
            streams: stored,
            consumer: stored,
        },
        signing_keys: &account.signing_keys,
        default_permissions: DefaultPermissions {
            publish: Subjects::of(None),
            subscribe: Subjects::of(None),
        },
        kind: "account",
        version: VERSION,
    };
    sign(&account.name, &account.key, None, nats, signer)
}

#[derive(Serialize)]
struct OperatorPart<'a> {
    system_account: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    version: u8,
}

/// Makes the token of an operator, signed by itself.
///
/// # Errors
///
/// [`NatsTokenError`] for keys of another kind.
pub fn operator_token(
    name: &str,
    system_account: &str,
    key: &SigningKey,
) -> Result<String, NatsTokenError> {
    expect(key, KeyKind::Operator)?;
    check("system account", system_account, KeyKind::Account)?;
    let nats = OperatorPart {
        system_account,
        kind: "operator",
        version: VERSION,
    };
    sign(name, &key.public_key(), None, nats, key)
}

fn expect(signer: &SigningKey, kind: KeyKind) -> Result<(), NatsTokenError> {
    check("signer", &signer.public_key(), kind)
}

fn check(part: &'static str, key: &str, kind: KeyKind) -> Result<(), NatsTokenError> {
    let key = PublicKey::parse(key).and_then(|key| key.expect_kind(kind));
    key.map(drop)
        .map_err(|source| NatsTokenError::Key { part, source })
}

fn sign(
    name: &str,
    subject: &str,
    exp: Option<u64>,
    nats: impl Serialize,
    signer: &SigningKey,
) -> Result<String, NatsTokenError> {
    let claims = Claims {
        jti: nuid::next().to_string(),
        iat: epoch_seconds(),
        iss: signer.public_key(),
        name: name.to_owned(),
        sub: subject.to_owned(),
        exp,
        nats,
    };
    let claims = serde_json::to_vec(&claims).map_err(NatsTokenError::Json)?;
    let header = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
    let signature = signer.sign(message.as_bytes());
    let signature = signature.map_err(|source| NatsTokenError::Key {
        part: "signer",
        source,
    })?;
    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
    if token.len() > MAX_TOKEN_BYTES {
        return Err(NatsTokenError::TooLong { bytes: token.len() });
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The claims, whose signature has been checked.
    fn read(token: &str, signer: &SigningKey) -> Value {
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let signer = PublicKey::parse(&signer.public_key()).unwrap();
        assert!(signer.verifies(message.as_bytes(), &signature));
        let (header, claims) = message.split_once('.').unwrap();
        let header = URL_SAFE_NO_PAD.decode(header).unwrap();
        assert_eq!(header, br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
    }

    fn user() -> User {
        User {
            name: "kv".to_owned(),
            key: SigningKey::generate(KeyKind::User).public_key(),
            ..User::default()
        }
    }

    #[test]
    fn a_user_has_the_rights_that_were_given() {
        let (account, signer) = [(); 2]
            .map(|()| SigningKey::generate(KeyKind::Account))
            .into();
        let user = User {
            account: Some(account.public_key()),
            expires: Some(1_900_000_000),
            permissions: Permissions {
                publish: Some(vec!["a.>".to_owned()]),
                subscribe: Some(Vec::new()),
            },
            ..user()
        };
        let claims = read(&user_token(&user, &signer).unwrap(), &signer);
        assert_eq!(claims["sub"], user.key);
        assert_eq!(claims["iss"], signer.public_key());
        assert_eq!(claims["exp"], 1_900_000_000);
        let nats = &claims["nats"];
        assert_eq!(nats["issuer_account"], account.public_key());
        assert_eq!(nats["pub"], serde_json::json!({ "allow": ["a.>"] }));
        // No subject at all is not every subject.
        assert_eq!(nats["sub"], serde_json::json!({ "deny": [">"] }));
        // It would hold for whatever subject a message names, also one to itself.
        assert_eq!(nats["resp"], serde_json::Value::Null);
        assert_eq!(
            (&nats["type"], &nats["version"]),
            (&"user".into(), &2.into())
        );
    }

    #[test]
    fn accounts_name_who_signs_for_them() {
        let operator = SigningKey::generate(KeyKind::Operator);
        let account = Account {
            name: "lattice".to_owned(),
            key: SigningKey::generate(KeyKind::Account).public_key(),
            signing_keys: vec![SigningKey::generate(KeyKind::Account).public_key()],
            jetstream: true,
        };
        let claims = read(&account_token(&account, &operator).unwrap(), &operator);
        assert_eq!(claims["nats"]["signing_keys"][0], account.signing_keys[0]);
        assert_eq!(claims["nats"]["limits"]["disk_storage"], -1);
        let token = operator_token("op", &account.key, &operator).unwrap();
        let claims = read(&token, &operator);
        assert_eq!(claims["nats"]["system_account"], account.key);
        assert_eq!(claims["sub"], claims["iss"]);
    }

    #[test]
    fn keys_of_another_kind_are_refused() {
        let account = SigningKey::generate(KeyKind::Account);
        let host = SigningKey::generate(KeyKind::Host);
        let refused = |user: User, signer: &SigningKey| {
            let error = user_token(&user, signer).unwrap_err();
            assert!(matches!(error, NatsTokenError::Key { .. }), "{error}");
        };
        refused(user(), &host);
        refused(
            User {
                key: host.public_key(),
                ..user()
            },
            &account,
        );
        refused(
            User {
                account: Some(host.public_key()),
                ..user()
            },
            &account,
        );
        assert!(operator_token("op", &account.public_key(), &account).is_err());
    }
}
