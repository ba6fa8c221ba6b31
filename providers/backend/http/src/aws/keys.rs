//! Keys that requests are signed with.

use std::time::Duration;

use lattice_core::provider::SecretText;
use time::OffsetDateTime;

use super::profile::ProfileFiles;
use crate::HttpError;
use crate::xml::XmlError;

/// How long the files of a profile may take: they may lie on a disk elsewhere.
const READ_LIMIT: Duration = Duration::from_secs(1);

/// Who we are for AWS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AwsKeys {
    /// The name of the key; it is sent along.
    pub id: String,
    /// The key itself.
    pub secret: SecretText,
    /// What goes with keys that were lent.
    pub token: Option<SecretText>,
    /// When lent ones end.
    pub until: Option<OffsetDateTime>,
    /// The files of the profile that they are from, which may have others later.
    pub(super) files: Option<ProfileFiles>,
}

impl AwsKeys {
    /// Keys without an end.
    pub fn new(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            secret: SecretText::new(secret),
            token: None,
            until: None,
            files: None,
        }
    }

    /// What the profile has by now that these are from; `None` when it has none, or there is none.
    pub(super) async fn by_now(&self) -> Option<Self> {
        let files = self.files.clone()?;
        let read = tokio::task::spawn_blocking(move || files.keys());
        let read = tokio::time::timeout(READ_LIMIT, read).await;
        read.ok().and_then(Result::ok).flatten()
    }
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// Who lends them did not answer.
    #[error("could not ask {lender} for keys")]
    Ask {
        /// Who was asked.
        lender: String,
        /// Why.
        source: HttpError,
    },
    /// Who lends them says no.
    #[error("{lender} lends no keys: {code}: {message}")]
    Refused {
        /// Who was asked.
        lender: String,
        /// The kind of refusal.
        code: String,
        /// In the lender's words.
        message: String,
    },
    /// The answer is not as it should be.
    #[error("{lender} answers without keys")]
    NoKeys {
        /// Who was asked.
        lender: String,
    },
    /// The answer is no XML.
    #[error("the answer of {lender} cannot be read")]
    Xml {
        /// Who was asked.
        lender: String,
        /// Why.
        source: XmlError,
    },
    /// A file with a token is not there.
    #[error("could not read the token file `{path}`")]
    Token {
        /// Where it should be.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Nobody said any, and the machine lends none.
    #[error(
        "none are said (`access_key_id` and `secret_access_key`, also as `AWS_ACCESS_KEY_ID` and \
         `AWS_SECRET_ACCESS_KEY`, or a profile), and the machine lends none"
    )]
    NotSaid {
        /// Why it lends none.
        source: Box<KeysError>,
    },
    /// Nobody lent any a moment ago, and nobody was asked again.
    #[error("there were none a moment ago: {why}")]
    Recently {
        /// What was wrong then.
        why: String,
    },
    /// An address is none.
    #[error("`{url}` is not an address")]
    Address {
        /// What it is.
        url: String,
    },
}
