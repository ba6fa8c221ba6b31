//! Collects the answers of many hosts.

#![expect(clippy::disallowed_methods, reason = "listens to an inbox of its own")]

use std::time::Duration;

use async_nats::StatusCode;
use bytes::Bytes;
use futures::StreamExt;
use lattice_core::CtlResponse;
use lattice_core::subject::ControlOp;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use super::{Client, ClientError};

/// More answers than any lattice has hosts; beyond, somebody is playing tricks.
const MOST_REPLIES: usize = 100_000;

/// How long and how much to collect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GatherOptions {
    /// How long to collect, instead of the client's auction timeout.
    pub timeout: Option<Duration>,
    /// Ends the collection early, as soon as there are this many answers.
    pub max_replies: Option<usize>,
    /// Ends the collection early, when for this long after an answer no other one came.
    pub quiet: Option<Duration>,
    /// Ends the collection early, when the answers have this many bytes together.
    pub max_bytes: Option<usize>,
}

impl GatherOptions {
    /// Ends the collection with the first answer.
    #[must_use]
    pub fn first() -> Self {
        Self {
            max_replies: Some(1),
            ..Self::default()
        }
    }
}

impl Client {
    /// Publishes a request with an inbox of its own and collects what arrives there.
    ///
    /// Refusals and answers that cannot be read are left out: one odd host does not hide others.
    pub(super) async fn gather<T: DeserializeOwned>(
        &self,
        op: &ControlOp,
        payload: Bytes,
        options: GatherOptions,
    ) -> Result<Vec<T>, ClientError> {
        let deadline = Instant::now() + options.timeout.unwrap_or(self.config.auction_timeout);
        let most = options
            .max_replies
            .unwrap_or(MOST_REPLIES)
            .min(MOST_REPLIES);
        let inbox = self.nats.new_inbox();
        let mut answers = self
            .nats
            .subscribe(inbox.clone())
            .await
            .map_err(|error| ClientError::transport(op, error))?;
        self.publish(op, Some(&inbox), payload).await?;
        let mut replies = Vec::new();
        let (mut until, mut bytes) = (deadline, 0);
        let most_bytes = options.max_bytes.unwrap_or(usize::MAX);
        while replies.len() < most && bytes < most_bytes {
            let Ok(Some(message)) = timeout_at(until, answers.next()).await else {
                break;
            };
            if let Some(quiet) = options.quiet {
                until = deadline.min(Instant::now() + quiet);
            }
            if message.status == Some(StatusCode::NO_RESPONDERS) {
                return Err(ClientError::no_responders(op, &self.subjects.subject(op)));
            }
            bytes += message.payload.len();
            replies.extend(parse(op, &message.payload));
        }
        Ok(replies)
    }
}

fn parse<T: DeserializeOwned>(op: &ControlOp, payload: &[u8]) -> Option<T> {
    let (noun, verb) = op.noun_and_verb();
    match serde_json::from_slice::<CtlResponse<T>>(payload) {
        Ok(response) if response.success => response.response,
        Ok(response) => {
            tracing::debug!(noun, verb, message = response.message, "a host refused");
            None
        }
        Err(error) => {
            tracing::warn!(noun, verb, %error, "unreadable answer, ignored");
            None
        }
    }
}
