//! What a messaging provider does for one link.

use std::time::Duration;

use bytes::Bytes;
use lattice_rpc::Context;

use super::BrokerMessage;
use crate::NoLink;

/// Why a message was not published, or a request not answered. The component gets the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessagingError {
    /// No answer came in time.
    #[error("nobody answered on `{subject}` within {after:?}")]
    Timeout {
        /// Where the request went.
        subject: String,
        /// How long was waited.
        after: Duration,
    },
    /// The broker knows that nobody would answer.
    #[error("nobody listens on `{subject}`")]
    NobodyListens {
        /// Where the request went.
        subject: String,
    },
    /// The broker did not say in time that it has the message.
    #[error("the broker did not confirm the message on `{subject}` in time; it may have it")]
    Unconfirmed {
        /// Where the message went.
        subject: String,
    },
    /// The message is too large.
    #[error("the message on `{subject}` has {size} bytes, and {whose} limit is {limit}")]
    TooLarge {
        /// Where it was to go.
        subject: String,
        /// Its size.
        size: usize,
        /// The largest one.
        limit: usize,
        /// Who has that limit, such as `the broker's`.
        whose: &'static str,
    },
    /// The broker has no such subjects.
    #[error("`{subject}` cannot be published to: {why}")]
    Subject {
        /// What it is.
        subject: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is no link to a broker.
    #[error(transparent)]
    NoLink(#[from] NoLink),
    /// The broker is away.
    #[error("there is no connection to {0} at the moment")]
    Disconnected(&'static str),
    /// What the broker says.
    #[error("{0}")]
    Other(String),
}

impl MessagingError {
    /// A failure in words.
    pub fn other(text: impl Into<String>) -> Self {
        Self::Other(text.into())
    }

    /// Refuses a body that is larger than `limit`, which is that of `whose`.
    ///
    /// # Errors
    ///
    /// [`MessagingError::TooLarge`].
    pub fn check_size(
        subject: &str,
        size: usize,
        limit: usize,
        whose: &'static str,
    ) -> Result<(), Self> {
        if size <= limit {
            return Ok(());
        }
        Err(Self::TooLarge {
            subject: subject.to_owned(),
            size,
            limit,
            whose,
        })
    }
}

/// The broker behind one link: the interface `consumer`.
///
/// An operation is dropped shortly before its caller stops waiting, so it needs no time limit of
/// its own. Both are told who calls, through which link, and until when.
pub trait Broker: Send + Sync + 'static {
    /// Publishes a message, and returns when the broker has it, as far as the broker tells.
    fn publish(
        &self,
        cx: &Context,
        message: BrokerMessage,
    ) -> impl Future<Output = Result<(), MessagingError>> + Send;

    /// Publishes a message that is to be answered, and returns the first answer.
    fn request(
        &self,
        cx: &Context,
        subject: String,
        body: Bytes,
        timeout: Duration,
    ) -> impl Future<Output = Result<BrokerMessage, MessagingError>> + Send;
}
