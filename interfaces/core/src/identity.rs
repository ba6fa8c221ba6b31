//! How peers prove to one another who they are, and who makes a call.
//!
//! None of it is known to 1.9 peers, which neither send nor read it.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::provider::SecretText;

/// The tokens by which a peer says who it is. They are no secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerTokens {
    /// Of the host: signed by its cluster, or by the host itself where it belongs to none.
    pub host: String,
    /// Of a provider, signed by the host that started it; left out by the host itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

/// What a host gives a provider process, so that it can prove who it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderIdentity {
    /// What it shows to others.
    pub tokens: PeerTokens,
    /// The seed of the curve key (`SX…`) that its token names.
    pub session_seed: SecretText,
    /// The cluster keys (`C…`) whose hosts are believed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted: Vec<String>,
    /// Whether callers that prove nothing are refused.
    #[serde(default)]
    pub strict: bool,
    /// Whether there are callers who may not write to every subject.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub confined: bool,
    /// What it says of itself on the host's socket.
    #[serde(default, skip_serializing_if = "SecretText::is_empty")]
    pub ticket: SecretText,
}

/// The name of a session: the calls of one peer to one target, under one key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionName(pub [u8; 16]);

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(ENCODED);
        push(&mut text, &self.0);
        f.write_str(&text)
    }
}

impl fmt::Debug for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionName({self})")
    }
}

impl FromStr for SessionName {
    type Err = NoProof;

    fn from_str(text: &str) -> Result<Self, NoProof> {
        bytes(text).map(Self)
    }
}

/// What the version of a proof is called.
const VERSION: &str = "v1";

/// How many characters sixteen bytes take.
const ENCODED: usize = 22;

/// The longest text of a proof: the version, two texts of sixteen bytes, three numbers, dots.
pub const MAX_PROOF: usize = 2 + 2 * ENCODED + 3 * 20 + 5;

/// The text is no proof of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not of the form `v1.{{session}}.{{number}}.{{sent}}.{{left}}.{{mac}}`")]
pub struct NoProof;

/// What a caller adds to a call to prove that it makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallProof {
    /// Under which key.
    pub session: SessionName,
    /// Which call of the session this is.
    pub number: u64,
    /// How old the session was when the call was sent, in milliseconds.
    pub sent_ms: u64,
    /// How much of the call's time was left then, in milliseconds.
    pub left_ms: u64,
    /// The code that only the holders of the session's key can make.
    pub mac: [u8; 16],
}

impl CallProof {
    /// What is sent, `v1.{session}.{number}.{sent}.{left}.{mac}`.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(MAX_PROOF);
        self.write(&mut text);
        text
    }

    /// Appends what is sent to `text`.
    pub fn write(&self, text: &mut String) {
        text.push_str(VERSION);
        text.push('.');
        push(text, &self.session.0);
        for number in [self.number, self.sent_ms, self.left_ms] {
            text.push('.');
            text.push_str(itoa::Buffer::new().format(number));
        }
        text.push('.');
        push(text, &self.mac);
    }
}

impl FromStr for CallProof {
    type Err = NoProof;

    fn from_str(text: &str) -> Result<Self, NoProof> {
        if text.len() > MAX_PROOF {
            return Err(NoProof);
        }
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or(NoProof);
        if next()? != VERSION {
            return Err(NoProof);
        }
        let proof = Self {
            session: next()?.parse()?,
            number: number(next()?)?,
            sent_ms: number(next()?)?,
            left_ms: number(next()?)?,
            mac: bytes(next()?)?,
        };
        match parts.next() {
            None => Ok(proof),
            Some(_) => Err(NoProof),
        }
    }
}

fn number(text: &str) -> Result<u64, NoProof> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_err(|_| NoProof)
    } else {
        Err(NoProof)
    }
}

fn push(text: &mut String, bytes: &[u8; 16]) {
    URL_SAFE_NO_PAD.encode_string(bytes, text);
}

fn bytes(text: &str) -> Result<[u8; 16], NoProof> {
    let mut out = [0; 18];
    if text.len() != ENCODED {
        return Err(NoProof);
    }
    match URL_SAFE_NO_PAD.decode_slice(text, &mut out) {
        Ok(16) => out.first_chunk().copied().ok_or(NoProof),
        _ => Err(NoProof),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn proofs_are_read_as_they_were_written(
            session: [u8; 16], number: u64, sent_ms: u64, left_ms: u64, mac: [u8; 16],
        ) {
            let session = SessionName(session);
            let proof = CallProof { session, number, sent_ms, left_ms, mac };
            let text = proof.text();
            prop_assert!(text.len() <= MAX_PROOF);
            prop_assert_eq!(text.parse(), Ok(proof));
            prop_assert_eq!(session.to_string().parse(), Ok(session));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text: String, near in r"v1(\.[A-Za-z0-9_+-]{0,24}){0,7}") {
            for text in [text, near] {
                let _ = (text.parse::<CallProof>(), text.parse::<SessionName>());
            }
        }
    }

    #[test]
    fn another_form_is_no_proof() {
        let session = "A".repeat(22);
        for text in [
            String::new(),
            format!("v2.{session}.1.2.3.{session}"),
            format!("v1.{session}.1.2.3"),
            format!("v1.{session}.1.2.3.{session}.4"),
            format!("v1.{session}.+1.2.3.{session}"),
            format!("v1.{session}.1.2.99999999999999999999.{session}"),
            format!("v1.{session}x.1.2.3.{session}"),
        ] {
            assert_eq!(text.parse::<CallProof>(), Err(NoProof), "{text}");
        }
    }

    #[test]
    fn seeds_and_tickets_are_not_shown() {
        let identity = ProviderIdentity {
            session_seed: SecretText::new("SXSECRET"),
            ticket: SecretText::new("TICKETSECRET"),
            ..ProviderIdentity::default()
        };
        assert!(!format!("{identity:?}").contains("SECRET"));
    }
}
