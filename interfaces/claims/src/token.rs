//! Making, reading and checking tokens.
//!
//! The header of a token is `{"typ":"jwt","alg":"Ed25519"}`. `jsonwebtoken`
//! knows that algorithm only under the name `EdDSA` and can neither write nor
//! read this header, so header and signature are handled here (the signature by
//! `nkeys`); the claims part is decoded by `jsonwebtoken`.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::claims::Claims;
use crate::keys::{KeyError, PublicKey, SigningKey};

/// The longest token that is read or made, in bytes.
pub const MAX_TOKEN_BYTES: usize = 512 * 1024;

const TOKEN_TYPE: &str = "jwt";
const ALGORITHM: &str = "Ed25519";

#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(default)]
    typ: String,
    #[serde(default)]
    alg: String,
}

/// Why a token was not accepted or not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The token is longer than [`MAX_TOKEN_BYTES`].
    #[error("token of {bytes} bytes is over the limit of {MAX_TOKEN_BYTES}")]
    TooLong {
        /// The length of the token.
        bytes: usize,
    },
    /// The token does not have three parts.
    #[error("token is not of the form `header.claims.signature`")]
    Form,
    /// A part is not what it should be.
    #[error("token has a malformed {part}")]
    Malformed {
        /// Which part.
        part: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The header names another algorithm.
    #[error("invalid algorithm `{found}` in token header, only `Ed25519` is accepted")]
    InvalidAlgorithm {
        /// What the header says.
        found: String,
    },
    /// The header names another type.
    #[error("token type `{found}` in token header is invalid, only `jwt` is accepted")]
    InvalidType {
        /// What the header says.
        found: String,
    },
    /// There is no issuer.
    #[error("missing issuer in token claims")]
    MissingIssuer,
    /// There is no subject.
    #[error("missing subject in token claims")]
    MissingSubject,
    /// The issuer is not a key.
    #[error("issuer in token claims is not a key")]
    Issuer(#[source] KeyError),
    /// The signature is not the issuer's.
    #[error("signature invalid, the token was changed or not signed by `{issuer}`")]
    SignatureInvalid {
        /// The issuer named in the token.
        issuer: String,
    },
    /// The token has expired.
    #[error("token expired at epoch second {at}")]
    Expired {
        /// When it expired.
        at: u64,
    },
    /// The token is not yet valid.
    #[error("token not yet usable, it becomes valid at epoch second {at}")]
    NotYetUsable {
        /// When it becomes valid.
        at: u64,
    },
    /// The key could not sign.
    #[error("could not sign token")]
    Sign(#[source] KeyError),
}

/// The present time as tokens count it.
#[must_use]
pub fn epoch_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

impl<T: Serialize> Claims<T> {
    /// Signs the claims; the signer becomes the issuer.
    ///
    /// # Errors
    ///
    /// Fails for claims without a subject and for claims that no one would read
    /// because they are too long.
    pub fn sign(&mut self, signer: &SigningKey) -> Result<String, TokenError> {
        self.issuer = signer.public_key();
        if self.subject.is_empty() {
            return Err(TokenError::MissingSubject);
        }
        let header = Header {
            typ: TOKEN_TYPE.to_owned(),
            alg: ALGORITHM.to_owned(),
        };
        let message = format!(
            "{}.{}",
            encode_part("header", &header)?,
            encode_part("claims", self)?
        );
        let signature = signer.sign(message.as_bytes()).map_err(TokenError::Sign)?;
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
        check_length(&token)?;
        Ok(token)
    }
}

fn encode_part(part: &'static str, value: &impl Serialize) -> Result<String, TokenError> {
    let json = serde_json::to_vec(value).map_err(|e| malformed(part, e))?;
    Ok(URL_SAFE_NO_PAD.encode(json))
}

fn malformed(
    part: &'static str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> TokenError {
    TokenError::Malformed {
        part,
        source: Box::new(source),
    }
}

fn check_length(token: &str) -> Result<(), TokenError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::TooLong { bytes: token.len() });
    }
    Ok(())
}

/// Header, claims and signature in their text form.
struct Parts<'a> {
    header: &'a str,
    message: &'a str,
    signature: &'a str,
}

fn split(token: &str) -> Result<Parts<'_>, TokenError> {
    check_length(token)?;
    let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Form)?;
    let (header, claims) = message.split_once('.').ok_or(TokenError::Form)?;
    if claims.contains('.') {
        return Err(TokenError::Form);
    }
    Ok(Parts {
        header,
        message,
        signature,
    })
}

/// Reads the claims of a token and checks nothing.
///
/// # Errors
///
/// Fails for texts that are not tokens or do not hold claims of this kind.
pub fn decode<T: DeserializeOwned>(token: &str) -> Result<Claims<T>, TokenError> {
    let token = token.trim();
    split(token)?;
    jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|e| malformed("claims part", e))
}

/// Reads a token and checks all it says about itself: header, issuer, subject,
/// signature and times. Whether the issuer is to be trusted is for a policy.
///
/// # Errors
///
/// Returns the first check that failed.
pub fn verify<T: DeserializeOwned>(token: &str, now: u64) -> Result<Claims<T>, TokenError> {
    let claims = verify_signature(token)?;
    check_times(claims.expires, claims.not_before, now)?;
    Ok(claims)
}

/// Reads a token and checks all but its times, for who looks at these later or shows them.
///
/// # Errors
///
/// Returns the first check that failed.
pub fn verify_signature<T: DeserializeOwned>(token: &str) -> Result<Claims<T>, TokenError> {
    let token = token.trim();
    let parts = split(token)?;
    check_header(parts.header)?;
    let claims: Claims<T> = decode(token)?;
    if claims.issuer.is_empty() {
        return Err(TokenError::MissingIssuer);
    }
    if claims.subject.is_empty() {
        return Err(TokenError::MissingSubject);
    }
    check_signature(&parts, &claims.issuer)?;
    Ok(claims)
}

fn check_header(text: &str) -> Result<(), TokenError> {
    let json = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|e| malformed("header", e))?;
    let header: Header = serde_json::from_slice(&json).map_err(|e| malformed("header", e))?;
    let shown = |text: String| text.chars().take(40).collect();
    if header.alg != ALGORITHM {
        return Err(TokenError::InvalidAlgorithm {
            found: shown(header.alg),
        });
    }
    if header.typ != TOKEN_TYPE {
        return Err(TokenError::InvalidType {
            found: shown(header.typ),
        });
    }
    Ok(())
}

fn check_signature(parts: &Parts<'_>, issuer: &str) -> Result<(), TokenError> {
    let key = PublicKey::parse(issuer).map_err(TokenError::Issuer)?;
    let signature = URL_SAFE_NO_PAD
        .decode(parts.signature)
        .map_err(|e| malformed("signature", e))?;
    if key.verifies(parts.message.as_bytes(), &signature) {
        Ok(())
    } else {
        Err(TokenError::SignatureInvalid {
            issuer: issuer.to_owned(),
        })
    }
}

fn check_times(expires: Option<u64>, not_before: Option<u64>, now: u64) -> Result<(), TokenError> {
    if let Some(at) = expires.filter(|at| *at < now) {
        return Err(TokenError::Expired { at });
    }
    if let Some(at) = not_before.filter(|at| *at > now) {
        return Err(TokenError::NotYetUsable { at });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
