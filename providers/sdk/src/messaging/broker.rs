//! What a messaging provider does for one link.

use std::time::Duration;

use lattice_rpc::Context;

use super::{Message, Replies};
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
    /// The subject is not for components.
    #[error(
        "`{subject}` is reserved for the lattice; `lattice_subjects=allowed` in the config of the link, or \
         a NATS or user of its own, would let it through"
    )]
    Reserved {
        /// What it is.
        subject: String,
    },
    /// The broker would not keep the metadata as it is.
    #[error("the metadata `{name}` cannot be sent: {why}")]
    Metadata {
        /// The name of it.
        name: String,
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

/// The broker behind one link.
///
/// An operation is dropped shortly before its caller stops waiting, so it needs no time limit of
/// its own. Both are told who calls, through which link, and until when. Content type and metadata
/// of a message become headers; what the broker cannot keep as it is has to be refused, see
/// [`Message::check_metadata`].
pub trait Broker: Send + Sync + 'static {
    /// Publishes a message, and returns when the broker has it, as far as the broker tells.
    fn publish(
        &self,
        cx: &Context,
        message: Message,
    ) -> impl Future<Output = Result<(), MessagingError>> + Send;

    /// Publishes a message that is to be answered, and hands over the answers until
    /// [`Replies::take`] says that it was the last one. When `timeout` is over the operation is
    /// dropped, and what was handed over until then is the answer.
    fn request(
        &self,
        cx: &Context,
        message: Message,
        timeout: Duration,
        replies: &mut Replies,
    ) -> impl Future<Output = Result<(), MessagingError>> + Send;
}
