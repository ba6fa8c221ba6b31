//! Credentials files: a user token and the seed that signs for it.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lattice_core::provider::SecretText;
use serde::Deserialize;

use super::ConnectionError;

/// What a credentials file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creds {
    /// The signed token of the user.
    pub jwt: SecretText,
    /// The seed of the user's key.
    pub seed: SecretText,
}

impl Creds {
    /// Takes token and seed out of the text of a file: each is the line after its `BEGIN` line.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let after = |mark: &str| {
            let mut lines = text.lines().map(str::trim);
            lines.find(|line| line.starts_with('-') && line.contains(mark))?;
            lines
                .find(|line| !line.is_empty())
                .filter(|line| !line.starts_with('-'))
        };
        Some(Self {
            jwt: SecretText::new(after("BEGIN NATS USER JWT")?),
            seed: SecretText::new(after("BEGIN USER NKEY SEED")?),
        })
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`ConnectionError`] names the file when it cannot be read or holds something else.
    pub fn read(path: &Path) -> Result<Self, ConnectionError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConnectionError::ReadCreds {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text).ok_or_else(|| ConnectionError::NotCreds {
            path: path.to_owned(),
        })
    }

    /// Reads a file anew, whose user was one of `account` before.
    ///
    /// # Errors
    ///
    /// As of [`Creds::read`], and [`ConnectionError::OtherAccount`]: whoever goes on in another account hears
    /// nobody of those that it was among, and takes others for them.
    pub fn read_again(path: &Path, account: Option<&str>) -> Result<Self, ConnectionError> {
        let creds = Self::read(path)?;
        match (account, creds.account()) {
            (Some(before), Some(now)) if before != now => Err(ConnectionError::OtherAccount {
                path: path.to_owned(),
                account: now,
            }),
            _ => Ok(creds),
        }
    }

    /// The account that the token says its user is of, unchecked: `nats.issuer_account` where a signing key has
    /// signed, else `iss`. Nothing where the token is none.
    pub(super) fn account(&self) -> Option<String> {
        let claims = self.jwt.expose().split('.').nth(1)?;
        let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
        let claims: Claims = serde_json::from_slice(&claims).ok()?;
        let of_signing_key = claims.nats.issuer_account;
        let of_signing_key = of_signing_key.filter(|account| !account.is_empty());
        Some(of_signing_key.unwrap_or(claims.iss))
    }

    /// The text of a file that holds these.
    #[must_use]
    pub fn to_text(&self) -> SecretText {
        let part = |what: &str, text: &SecretText| {
            format!(
                "-----BEGIN {what}-----\n{}\n------END {what}------\n",
                text.expose()
            )
        };
        let (jwt, seed) = (
            part("NATS USER JWT", &self.jwt),
            part("USER NKEY SEED", &self.seed),
        );
        SecretText::new(format!("{jwt}\n{seed}"))
    }
}

/// What a token says of its account.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    #[serde(default)]
    nats: UserClaims,
}

#[derive(Default, Deserialize)]
struct UserClaims {
    issuer_account: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn creds(claims: &str) -> Creds {
        let claims = URL_SAFE_NO_PAD.encode(claims);
        Creds {
            jwt: SecretText::new(format!("e30.{claims}.c2ln")),
            seed: SecretText::new("SUAB"),
        }
    }

    #[test]
    fn a_file_goes_on_with_its_account() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |creds: &Creds| std::fs::write(file.path(), creds.to_text().expose()).unwrap();
        let signed_by = |key: &str| {
            creds(&format!(
                r#"{{"iss":"{key}","nats":{{"issuer_account":"A1"}}}}"#
            ))
        };
        let first = creds(r#"{"iss":"A1","nats":{}}"#);
        assert_eq!(first.account().as_deref(), Some("A1"));
        for same in [first, signed_by("A7"), creds("no claims")] {
            write(&same);
            assert_eq!(Creds::read_again(file.path(), Some("A1")).unwrap(), same);
        }
        write(&creds(r#"{"iss":"A2"}"#));
        let other = Creds::read_again(file.path(), Some("A1"));
        let is_other = |error: &ConnectionError| matches!(error, ConnectionError::OtherAccount { account, .. } if account == "A2");
        assert!(other.is_err_and(|error| is_other(&error)));
        assert!(Creds::read_again(file.path(), None).is_ok());
    }

    #[test]
    fn files_are_read_as_they_are_written() {
        let creds = Creds {
            jwt: SecretText::new("eyJ0"),
            seed: SecretText::new("SUAB"),
        };
        assert_eq!(Creds::parse(creds.to_text().expose()), Some(creds));
    }

    #[test]
    fn other_texts_are_no_credentials() {
        let begin = "-----BEGIN NATS USER JWT-----\n";
        for text in [
            "",
            "eyJ0",
            begin,
            &format!("{begin}------END NATS USER JWT------"),
        ] {
            assert_eq!(Creds::parse(text), None, "{text}");
        }
    }
}
