//! Tokens by which hosts and providers prove to one another who they are.
//!
//! A cluster signs that a host belongs to it, a host that it has started a provider. Each token
//! names the curve key to which keys of sessions are sealed, so that only its owner can use it.

use std::time::Duration;

use lattice_core::identity::PeerTokens;
use serde::{Deserialize, Serialize};

use crate::claims::Claims;
use crate::curve::CurveKey;
use crate::keys::{KeyError, KeyKind, PublicKey, SigningKey};
use crate::token::{self, TokenError};

/// The longest token that is looked at, in bytes.
pub const MAX_PEER_TOKEN_BYTES: usize = 4096;

/// How far the clocks of two hosts may differ where the expiry of a token matters.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// What a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerRole {
    /// A host.
    Host,
    /// A provider.
    Provider,
}

/// What a token says about a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerMetadata {
    /// What it is.
    pub role: PeerRole,
    /// The lattice it is part of.
    pub lattice: String,
    /// Its public curve key, `X…`.
    pub session_key: String,
    /// The start of the process, for a provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// Claims about a peer.
pub type PeerClaims = Claims<PeerMetadata>;

/// Signs that `host` is part of the lattice, and of the signer's cluster if that is what the key
/// stands for.
///
/// # Errors
///
/// [`TokenError::Sign`] for a key without its private part.
pub fn sign_host(
    signer: &SigningKey,
    host: &str,
    lattice: &str,
    session_key: &CurveKey,
    valid: (u64, Duration),
) -> Result<String, TokenError> {
    let metadata = PeerMetadata {
        role: PeerRole::Host,
        lattice: lattice.to_owned(),
        session_key: session_key.public_key(),
        instance: None,
    };
    sign(signer, host, metadata, valid)
}

/// Signs, as the host that starts it, that a process is the provider `id`.
///
/// # Errors
///
/// As [`sign_host`].
pub fn sign_provider(
    host: &SigningKey,
    id: &str,
    instance: &str,
    lattice: &str,
    session_key: &CurveKey,
    valid: (u64, Duration),
) -> Result<String, TokenError> {
    let metadata = PeerMetadata {
        role: PeerRole::Provider,
        lattice: lattice.to_owned(),
        session_key: session_key.public_key(),
        instance: Some(instance.to_owned()),
    };
    sign(host, id, metadata, valid)
}

fn sign(
    signer: &SigningKey,
    subject: &str,
    metadata: PeerMetadata,
    (now, lifetime): (u64, Duration),
) -> Result<String, TokenError> {
    let mut claims = PeerClaims::new(subject.to_owned(), metadata, now);
    claims.expires = Some(now.saturating_add(lifetime.as_secs()));
    claims.revision = None;
    claims.sign(signer)
}

/// Who a peer is, as its tokens prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedPeer {
    /// The host: itself, or the one that started the provider.
    pub host: String,
    /// The id of the provider; `None` for a host.
    pub provider: Option<String>,
    /// Its public curve key.
    pub session_key: String,
    /// The cluster that the host belongs to, if that is one of those that are trusted.
    pub cluster: Option<String>,
    /// When the first of its tokens expires, in epoch seconds.
    pub expires: u64,
}

impl VerifiedPeer {
    /// Whether it may serve the entity `target`: a provider its own id, a host whatever it runs.
    #[must_use]
    pub fn may_serve(&self, target: &str) -> bool {
        self.provider.as_deref().is_none_or(|id| id == target)
    }

    /// Whether it may call as `source`: a provider as itself, a host for whatever it runs.
    #[must_use]
    pub fn may_call_as(&self, source: &str) -> bool {
        self.may_serve(source)
    }

    /// Who that is, for people.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.provider {
            Some(id) => format!("provider `{id}` of host `{}`", self.host),
            None => format!("host `{}`", self.host),
        }
    }
}

/// Why tokens do not prove who a peer is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// A token is longer than any that a peer makes.
    #[error("a token of {bytes} bytes is over the limit of {MAX_PEER_TOKEN_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A token does not hold.
    #[error("the token of the {of} does not hold")]
    Token {
        /// Whose.
        of: &'static str,
        /// Why.
        #[source]
        source: TokenError,
    },
    /// A token is about something else.
    #[error("the token of the {of} is not one for a {of}")]
    Role {
        /// Whose.
        of: &'static str,
    },
    /// A token is for another lattice.
    #[error("the token of the {of} is for another lattice")]
    Lattice {
        /// Whose.
        of: &'static str,
    },
    /// The key of a token is none.
    #[error("the token of the {of} names no valid key")]
    Key {
        /// Whose.
        of: &'static str,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// Neither a cluster nor the host itself has signed.
    #[error("the token of the {of} is signed by `{issuer}`, who cannot vouch for it")]
    Issuer {
        /// Whose.
        of: &'static str,
        /// Who has signed.
        issuer: String,
    },
    /// The token is valid for ever, which none of ours is.
    #[error("the token of the {of} has no expiry")]
    Endless {
        /// Whose.
        of: &'static str,
    },
}

impl PeerError {
    /// Whether the tokens were valid once.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        matches!(
            self,
            Self::Token {
                source: TokenError::Expired { .. },
                ..
            }
        )
    }
}

const HOST: &str = "host";
const PROVIDER: &str = "provider";

/// Checks the tokens of a peer in `lattice`, as of `now`.
///
/// A host whose token is signed by none of `trusted` is somebody, but nobody in particular:
/// [`VerifiedPeer::cluster`] is `None` then.
///
/// # Errors
///
/// [`PeerError`] for the first thing that does not hold.
pub fn verify_peer(
    tokens: &PeerTokens,
    lattice: &str,
    trusted: &[PublicKey],
    now: u64,
) -> Result<VerifiedPeer, PeerError> {
    let host = read(HOST, PeerRole::Host, &tokens.host, lattice, now)?;
    let key = PublicKey::parse(&host.subject).and_then(|key| key.expect_kind(KeyKind::Host));
    key.map_err(|source| PeerError::Key { of: HOST, source })?;
    let cluster = cluster(&host, trusted)?;
    let mut peer = VerifiedPeer {
        host: host.subject,
        provider: None,
        session_key: host.session_key,
        cluster,
        expires: host.expires,
    };
    if let Some(token) = &tokens.provider {
        let provider = read(PROVIDER, PeerRole::Provider, token, lattice, now)?;
        if provider.issuer != peer.host {
            return Err(PeerError::Issuer {
                of: PROVIDER,
                issuer: provider.issuer,
            });
        }
        peer.provider = Some(provider.subject);
        peer.session_key = provider.session_key;
        peer.expires = peer.expires.min(provider.expires);
    }
    Ok(peer)
}

/// The cluster that vouches for a host, if it is trusted; a host may vouch for itself.
fn cluster(host: &Read, trusted: &[PublicKey]) -> Result<Option<String>, PeerError> {
    if host.issuer == host.subject {
        return Ok(None);
    }
    let issuer = PublicKey::parse(&host.issuer).and_then(|key| key.expect_kind(KeyKind::Cluster));
    if issuer.is_err() {
        return Err(PeerError::Issuer {
            of: HOST,
            issuer: host.issuer.clone(),
        });
    }
    let is_trusted = trusted.iter().any(|key| key.as_text() == host.issuer);
    Ok(is_trusted.then(|| host.issuer.clone()))
}

/// What a token that holds says.
struct Read {
    issuer: String,
    subject: String,
    session_key: String,
    expires: u64,
}

fn read(
    of: &'static str,
    role: PeerRole,
    text: &str,
    lattice: &str,
    now: u64,
) -> Result<Read, PeerError> {
    if text.len() > MAX_PEER_TOKEN_BYTES {
        return Err(PeerError::TooLong { bytes: text.len() });
    }
    // Who signs may be ahead or behind.
    let now = now.saturating_sub(CLOCK_SKEW.as_secs());
    let claims: PeerClaims =
        token::verify(text, now).map_err(|source| PeerError::Token { of, source })?;
    let metadata = claims.metadata.ok_or(PeerError::Role { of })?;
    if metadata.role != role {
        return Err(PeerError::Role { of });
    }
    if metadata.lattice != lattice {
        return Err(PeerError::Lattice { of });
    }
    CurveKey::from_public_key(&metadata.session_key)
        .map_err(|source| PeerError::Key { of, source })?;
    Ok(Read {
        issuer: claims.issuer,
        subject: claims.subject,
        session_key: metadata.session_key,
        expires: claims.expires.ok_or(PeerError::Endless { of })?,
    })
}

#[cfg(test)]
mod tests;
