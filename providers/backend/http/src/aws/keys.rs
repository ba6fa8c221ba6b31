//! Keys that requests are signed with.

use lattice_core::provider::SecretText;
use time::OffsetDateTime;

use crate::HttpError;
use crate::xml::XmlError;

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
}

impl AwsKeys {
    /// Keys without an end.
    pub fn new(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            secret: SecretText::new(secret),
            token: None,
            until: None,
        }
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
