//! What a component publishes and asks.

#![expect(
    clippy::disallowed_methods,
    reason = "the subjects are those of components"
)]

use std::sync::Arc;
use std::time::Duration;

use async_nats::client::{PublishErrorKind, RequestErrorKind};
use async_nats::jetstream::context::{
    GetStreamByNameErrorKind as FindErrorKind, PublishErrorKind as StreamErrorKind,
};
use async_nats::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_provider_sdk::messaging::{Broker, Message, MessagingError, Replies};
use lattice_provider_sdk::{Context, Shared, chain};

use crate::cluster::Cluster;
use crate::message;
use crate::reach::Reach;
use crate::settings::is_subject;

/// What the headers of a trace may take at most.
const TRACE_ROOM: usize = 1024;

/// The NATS behind one link.
pub(crate) struct NatsBroker {
    pub(crate) cluster: Arc<Shared<Cluster>>,
    /// Whether publishing means streams.
    pub(crate) to_streams: bool,
    /// Which subjects are left to the component.
    pub(crate) reach: Reach,
}

impl NatsBroker {
    /// Refuses what is not for components, and what NATS would not take, or not at the moment.
    fn check(&self, message: &Message) -> Result<(), MessagingError> {
        let subject = message.subject.as_str();
        if !is_subject(subject, false) {
            return Err(MessagingError::Subject {
                subject: subject.to_owned(),
                why: "a NATS subject is words joined by dots, without blanks and wildcards",
            });
        }
        self.reach.check(subject)?;
        if !self.cluster.is_connected() {
            return Err(MessagingError::Disconnected("NATS"));
        }
        message::check(message)
    }

    /// What goes with a message: its metadata, and a trace where that fits.
    fn headers(&self, cx: &Context, message: &Message) -> Result<HeaderMap, MessagingError> {
        let mut headers = HeaderMap::new();
        message::put_metadata(&mut headers, message);
        // The server counts both.
        let size = message.body.len() + message::size_of(&headers);
        let limit = self.cluster.nats.max_payload();
        MessagingError::check_size(&message.subject, size, limit, "the NATS server's")?;
        if size + TRACE_ROOM <= limit {
            message::put_trace(&mut headers, cx.trace.as_ref());
        }
        Ok(headers)
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
        let Err(error) = sent.await else {
            return Ok(());
        };
        Err(match error.kind() {
            StreamErrorKind::StreamNotFound => self.untaken(&subject).await,
            StreamErrorKind::TimedOut | StreamErrorKind::BrokenPipe => {
                MessagingError::Unconfirmed { subject }
            }
            _ => MessagingError::other(chain(&error)),
        })
    }

    /// Why nobody takes a message. While its servers choose a leader no stream does, though it is there.
    async fn untaken(&self, subject: &str) -> MessagingError {
        let found = self.cluster.jetstream.stream_by_subject(subject).await;
        let is_missing = found.is_err_and(|error| error.kind() == FindErrorKind::NotFound);
        MessagingError::other(match is_missing {
            true => format!("no stream takes `{subject}`, and the link says `jetstream`"),
            false => format!(
                "nobody takes `{subject}` at the moment; the servers of its stream may be choosing a leader"
            ),
        })
    }
}

impl NatsBroker {
    /// The first answer, of which NATS knows whether there can be one.
    async fn ask_one(
        &self,
        subject: String,
        headers: HeaderMap,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Message, MessagingError> {
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

    /// All answers that are expected, at a place of their own.
    async fn ask_many(
        &self,
        subject: String,
        headers: HeaderMap,
        body: Bytes,
        replies: &mut Replies,
    ) -> Result<(), MessagingError> {
        let nats = &self.cluster.nats;
        let inbox = nats.new_inbox();
        let answers = nats.subscribe(inbox.clone()).await;
        let mut answers = answers.map_err(|error| MessagingError::other(chain(&error)))?;
        self.send(subject.clone(), Some(inbox), headers, body)
            .await?;
        while let Some(answer) = answers.next().await {
            if answer.status == Some(StatusCode::NO_RESPONDERS) {
                return Err(MessagingError::NobodyListens { subject });
            }
            if replies.take(message::arriving(&answer, false).message) {
                return Ok(());
            }
        }
        Err(MessagingError::Disconnected("NATS"))
    }

    /// Publishes by core NATS.
    async fn send(
        &self,
        subject: String,
        reply_to: Option<String>,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(), MessagingError> {
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
}

impl Broker for NatsBroker {
    async fn publish(&self, cx: &Context, message: Message) -> Result<(), MessagingError> {
        self.check(&message)?;
        let headers = self.headers(cx, &message)?;
        let Message {
            subject,
            body,
            reply_to,
            ..
        } = message;
        let reply_to = reply_to.filter(|reply| !reply.is_empty());
        if let Some(reply) = reply_to.as_ref().filter(|reply| !is_subject(reply, false)) {
            return Err(MessagingError::Subject {
                subject: reply.clone(),
                why: "it is the `reply-to` of a message, and no NATS subject",
            });
        }
        // Whoever answers would say it with rights of its own.
        reply_to
            .as_deref()
            .map_or(Ok(()), |to| self.reach.check(to))?;
        // No stream takes answers.
        if self.to_streams && !subject.starts_with(&self.cluster.inbox) {
            let reply = reply_to.as_deref();
            return self.publish_to_stream(subject, reply, headers, body).await;
        }
        self.send(subject, reply_to, headers, body).await
    }

    async fn request(
        &self,
        cx: &Context,
        message: Message,
        timeout: Duration,
        replies: &mut Replies,
    ) -> Result<(), MessagingError> {
        self.check(&message)?;
        let headers = self.headers(cx, &message)?;
        let Message { subject, body, .. } = message;
        if replies.expected() > 1 {
            return self.ask_many(subject, headers, body, replies).await;
        }
        let answer = self.ask_one(subject, headers, body, timeout).await?;
        replies.take(answer);
        Ok(())
    }
}
