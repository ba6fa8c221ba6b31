//! What a component publishes and asks.

#![expect(
    clippy::disallowed_methods,
    reason = "the subjects are those of components"
)]

use std::sync::Arc;
use std::time::Duration;

use async_nats::client::{PublishErrorKind, RequestErrorKind};
use async_nats::jetstream::context::PublishErrorKind as StreamErrorKind;
use async_nats::{HeaderMap, Request};
use bytes::Bytes;
use lattice_provider_sdk::messaging::{Broker, BrokerMessage, MessagingError};
use lattice_provider_sdk::{Context, Shared, chain};

use crate::cluster::Cluster;
use crate::message;
use crate::settings::is_subject;

/// What the headers of a trace may take at most.
const TRACE_ROOM: usize = 1024;

/// The NATS behind one link.
pub(crate) struct NatsBroker {
    pub(crate) cluster: Arc<Shared<Cluster>>,
    /// Whether publishing means streams.
    pub(crate) to_streams: bool,
}

impl NatsBroker {
    /// Refuses what NATS would not take, or not at the moment.
    fn check(&self, subject: &str, size: usize) -> Result<(), MessagingError> {
        if !is_subject(subject, false) {
            return Err(MessagingError::Subject {
                subject: subject.to_owned(),
                why: "a NATS subject is words joined by dots, without blanks and wildcards",
            });
        }
        if !self.cluster.is_connected() {
            return Err(MessagingError::Disconnected("NATS"));
        }
        let limit = self.cluster.nats.max_payload();
        MessagingError::check_size(subject, size, limit, "the NATS server's")
    }

    /// The trace that goes with a message, where it fits.
    fn headers(&self, cx: &Context, size: usize) -> HeaderMap {
        let has_room = size + TRACE_ROOM <= self.cluster.nats.max_payload();
        message::headers(cx.trace.as_ref().filter(|_| has_room))
    }

    /// Publishes to a stream and waits until it has the message. Who is to be answered stands in a
    /// header: the reply subject is where the stream acknowledges.
    async fn publish_to_stream(
        &self,
        subject: String,
        reply: Option<&str>,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<(), MessagingError> {
        message::put(&mut headers, message::REPLY, reply.unwrap_or_default());
        let jetstream = &self.cluster.jetstream;
        let sent = async {
            let ack = jetstream.publish_with_headers(subject.clone(), headers, body);
            ack.await?.await
        };
        sent.await.map(drop).map_err(|error| match error.kind() {
            StreamErrorKind::StreamNotFound => MessagingError::other(format!(
                "no stream takes `{subject}`, and the link says `jetstream`"
            )),
            StreamErrorKind::TimedOut | StreamErrorKind::BrokenPipe => {
                MessagingError::Unconfirmed { subject }
            }
            _ => MessagingError::other(chain(&error)),
        })
    }
}

impl Broker for NatsBroker {
    async fn publish(&self, cx: &Context, message: BrokerMessage) -> Result<(), MessagingError> {
        let BrokerMessage {
            subject,
            body,
            reply_to,
        } = message;
        self.check(&subject, body.len())?;
        let reply_to = reply_to.filter(|reply| !reply.is_empty());
        if let Some(reply) = reply_to.as_ref().filter(|reply| !is_subject(reply, false)) {
            return Err(MessagingError::Subject {
                subject: reply.clone(),
                why: "it is the `reply-to` of a message, and no NATS subject",
            });
        }
        let headers = self.headers(cx, body.len());
        // No stream takes answers.
        if self.to_streams && !subject.starts_with(&self.cluster.inbox) {
            let reply = reply_to.as_deref();
            return self.publish_to_stream(subject, reply, headers, body).await;
        }
        let nats = &self.cluster.nats;
        let sent = match (reply_to, headers.is_empty()) {
            (None, true) => nats.publish(subject, body).await,
            (None, false) => nats.publish_with_headers(subject, headers, body).await,
            (Some(reply), true) => nats.publish_with_reply(subject, reply, body).await,
            (Some(reply), false) => {
                let sent = nats.publish_with_reply_and_headers(subject, reply, headers, body);
                sent.await
            }
        };
        sent.map_err(|error| match error.kind() {
            PublishErrorKind::Send => MessagingError::Disconnected("NATS"),
            _ => MessagingError::other(chain(&error)),
        })
    }

    async fn request(
        &self,
        cx: &Context,
        subject: String,
        body: Bytes,
        timeout: Duration,
    ) -> Result<BrokerMessage, MessagingError> {
        self.check(&subject, body.len())?;
        let headers = self.headers(cx, body.len());
        let mut request = Request::new().payload(body).timeout(Some(timeout));
        if !headers.is_empty() {
            request = request.headers(headers);
        }
        let answer = self.cluster.nats.send_request(subject.clone(), request);
        let answer = answer.await.map_err(|error| match error.kind() {
            RequestErrorKind::TimedOut => MessagingError::Timeout {
                subject,
                after: timeout,
            },
            RequestErrorKind::NoResponders => MessagingError::NobodyListens { subject },
            _ => MessagingError::other(chain(&error)),
        })?;
        Ok(message::arriving(&answer, false).message)
    }
}
