//! How a provider process reaches NATS, beyond what the fields of 1.x can say.

use serde::{Deserialize, Serialize};

use super::SecretText;

/// What a host tells its providers of NATS on top of URL, token and seed. Old hosts leave it out,
/// and old providers do not look at it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct BusData {
    /// Addresses of servers, where there are several; they may hold a login.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<SecretText>,
    /// The token that everybody shares who may connect.
    #[serde(skip_serializing_if = "SecretText::is_empty")]
    pub token: SecretText,
    /// The path of a credentials file, to be read at every connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creds_file: Option<String>,
    /// The account that this file has to be of; that which it is of at the start when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// How the connection is encrypted.
    #[serde(skip_serializing_if = "BusTls::is_default")]
    pub tls: BusTls,
    /// Whether token and seed are the process's own, so that it reaches nothing but its links, and
    /// is told of new ones.
    #[serde(skip_serializing_if = "is_false")]
    pub scoped: bool,
    /// What the subjects of answers to the process begin with; `_INBOX` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inbox: Option<String>,
}

impl BusData {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How the connection of a provider process is encrypted. Files are named by their paths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct BusTls {
    /// Whether it has to be.
    #[serde(skip_serializing_if = "is_false")]
    pub required: bool,
    /// Whether TLS begins before the server says anything.
    #[serde(skip_serializing_if = "is_false")]
    pub first: bool,
    /// The authorities to trust instead of those of the system.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ca_files: Vec<String>,
    /// The certificate to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<String>,
    /// Its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl BusTls {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form in which serde asks"
)]
fn is_false(value: &bool) -> bool {
    !value
}

/// New credentials for a provider process, sealed by its host for the process's curve key and sent
/// to [`credentials`](crate::subject::ProviderSubjects::credentials) as a request, which is
/// answered at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewCredentials {
    /// Greater than that of every message before, which are no longer taken.
    pub serial: u64,
    /// The NATS user token.
    pub jwt: SecretText,
    /// The seed that signs for it.
    pub seed: SecretText,
}

/// What a provider process says when it is connected with new credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialsTaken {
    /// That of the message that brought them.
    pub serial: u64,
}
