//! What is said to JetStream about messages: storing and acknowledging.

#![expect(
    clippy::disallowed_methods,
    reason = "owns the subjects of the streams and of acknowledgements"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::GetStreamByNameErrorKind;
use async_nats::jetstream::{AckKind, Context};
use async_nats::{Client, HeaderMap, RequestErrorKind};
use bytes::Bytes;
use lattice_provider_sdk::queue::QueueError;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::ack::Ack;

/// How long JetStream may take to answer; less than the usual deadline of a call, so that the
/// caller hears what is missing.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// How long it may take to find out why it did not, which the caller waits for as well.
pub(crate) const REASON_LIMIT: Duration = Duration::from_millis(500);

/// How often it is looked whether the connection is still the one over which something was asked.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long an answer may still come over a new connection, for what was not sent before.
const GRACE: Duration = Duration::from_millis(500);

/// How many streams are known by their domains.
const MOST_DOMAINS: usize = 1024;

/// JetStream's code for a stream that has as much as it may have, or could not store.
const STORE_FAILED: u64 = 10077;
/// Its code for a message that is larger than the stream takes.
const MESSAGE_TOO_LARGE: u64 = 10054;
/// Its codes for a stream and a consumer that are not there.
const GONE: [u64; 2] = [10059, 10014];

/// A connection with its JetStream.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    pub(crate) nats: Client,
    pub(crate) jetstream: Context,
    /// The JetStream domain that the link says.
    pub(crate) domain: Option<Arc<str>>,
    /// Where that is another name for the domain of a stream.
    pub(crate) real: RealDomains,
}

/// The domains that streams are in, whatever a link calls them, each with the number of the connection over
/// which that was told.
#[derive(Debug, Clone, Default)]
pub(crate) struct RealDomains(Arc<Mutex<HashMap<String, (u64, String)>>>);

impl RealDomains {
    fn is_known(&self, stream: &str, over: u64, domain: &str) -> bool {
        let known = self.0.lock();
        let known = known.get(stream);
        known.is_some_and(|known| known.0 == over && known.1 == domain)
    }

    fn note(&self, stream: &str, over: u64, domain: &str) {
        let mut known = self.0.lock();
        if known.len() >= MOST_DOMAINS {
            known.clear();
        }
        known.insert(stream.to_owned(), (over, domain.to_owned()));
    }
}

/// Why nobody takes messages of one stream. Those that are sent together ask once.
#[derive(Debug, Default)]
pub(crate) struct Reason {
    is_gone: OnceCell<bool>,
}

/// Where a message was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) sequence: u64,
}

impl Wire {
    /// Fails when there is no connection right now: what is sent without one waits for the next one.
    pub(crate) fn connected(&self) -> Result<(), QueueError> {
        match self.nats.connection_state() {
            State::Connected => Ok(()),
            _ => Err(QueueError::unavailable(
                "there is no connection to NATS at the moment",
            )),
        }
    }

    /// How often the connection was made.
    pub(crate) fn connections(&self) -> u64 {
        self.nats.statistics().connects.load(Ordering::Relaxed)
    }

    /// Waits for an answer for as long as `limit`, and not when the connection of the number
    /// `asked_over` is gone: a server that was started again has forgotten what it was asked.
    pub(crate) async fn answer<T>(
        &self,
        asked_over: u64,
        limit: Duration,
        answer: impl Future<Output = T>,
    ) -> Option<T> {
        let forgotten = async {
            while self.connections() == asked_over {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            biased;
            answer = answer => Some(answer),
            () = tokio::time::sleep(limit) => None,
            () = forgotten => None,
        }
    }

    /// Whether the server says so when it finds nothing for a request that does not wait.
    pub(crate) fn tells_of_nothing(&self) -> bool {
        self.nats.is_server_compatible(2, 12, 2)
    }

    /// Whether the server is sure to know how often it gave a message.
    pub(crate) fn counts_attempts(&self) -> bool {
        self.nats.is_server_compatible(2, 11, 0)
    }

    /// The largest message that the server takes.
    pub(crate) fn max_payload(&self) -> usize {
        self.nats.server_info().max_payload
    }

    /// Stores a message and waits for the server to say so. `most` is what the stream takes.
    pub(crate) async fn publish(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
        most: usize,
    ) -> Result<Stored, QueueError> {
        let reason = Reason::default();
        self.publish_among(subject, headers, payload, most, &reason)
            .await
    }

    /// The same of one of several messages for a stream.
    pub(crate) async fn publish_among(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
        most: usize,
        reason: &Reason,
    ) -> Result<Stored, QueueError> {
        let asked = self
            .nats
            .request_with_headers(subject.clone(), headers, payload);
        let answer = self.answer(self.connections(), ANSWER_LIMIT, asked);
        let answer = match answer.await {
            Some(Ok(answer)) => answer,
            Some(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                return Err(self.untaken(&subject, reason).await);
            }
            Some(Err(error)) => return Err(QueueError::unavailable(error.to_string())),
            None => return Err(self.unstored(&subject).await),
        };
        let told: Value = serde_json::from_slice(&answer.payload)
            .map_err(|_| QueueError::other("NATS did not say what became of a message"))?;
        if let Some(error) = told.get("error") {
            return Err(refused(error, most));
        }
        self.check_domain(&subject, &told).await?;
        let sequence = told.get("seq").and_then(Value::as_u64);
        match sequence {
            Some(sequence) => Ok(Stored { sequence }),
            None => Err(QueueError::other("NATS stored a message without a number")),
        }
    }

    /// Why nobody has said that a message was stored. As long as somebody listens on a subject, a server
    /// does not tell who publishes there that no stream takes it.
    async fn unstored(&self, subject: &str) -> QueueError {
        let asked = self.jetstream.stream_by_subject(subject);
        let answer = self.answer(self.connections(), REASON_LIMIT, asked);
        match answer.await {
            Some(Err(error)) if error.kind() == GetStreamByNameErrorKind::NotFound => {
                QueueError::NoSuchQueue
            }
            _ => silent("store a message"),
        }
    }

    /// Why nobody takes what is published on a subject of a stream. While its servers choose a leader
    /// nobody does, though it is there.
    async fn untaken(&self, subject: &str, reason: &Reason) -> QueueError {
        let stream = stream_of(subject);
        let asked = || self.is_gone(format!("STREAM.INFO.{stream}"));
        match *reason.is_gone.get_or_init(asked).await {
            true => QueueError::NoSuchQueue,
            false => leaderless(stream),
        }
    }

    /// The same of requests for messages.
    pub(crate) async fn unasked(&self, stream: &str, consumer: &str) -> QueueError {
        match self
            .is_gone(format!("CONSUMER.INFO.{stream}.{consumer}"))
            .await
        {
            true => QueueError::NoSuchQueue,
            false => leaderless(stream),
        }
    }

    /// The same of acknowledgements.
    async fn unheard(&self, ack: &str) -> QueueError {
        let Some((stream, consumer)) = Ack::of_consumer(ack) else {
            return QueueError::ReceiptExpired;
        };
        match self.unasked(stream, consumer).await {
            QueueError::NoSuchQueue => QueueError::ReceiptExpired,
            error => error,
        }
    }

    /// Whether JetStream says that what is asked about is not there.
    async fn is_gone(&self, question: String) -> bool {
        let told = self.told(question, REASON_LIMIT).await;
        let code = told.pointer("/error/err_code").and_then(Value::as_u64);
        code.is_some_and(|code| GONE.contains(&code))
    }

    /// What JetStream answers within `limit`; null when it does not.
    async fn told(&self, question: String, limit: Duration) -> Value {
        let nothing = json!({});
        let asked = self.jetstream.request::<_, _, Value>(question, &nothing);
        let answer = self.answer(self.connections(), limit, asked);
        answer.await.and_then(Result::ok).unwrap_or_default()
    }

    /// Refuses a message that another domain than the link's has taken: those who receive through this
    /// link need not find it. Domains have streams apart, but their subjects in common.
    async fn check_domain(&self, subject: &str, told: &Value) -> Result<(), QueueError> {
        let took = domain_of(told);
        let Some(said) = self.domain.as_deref().filter(|said| *said != took) else {
            return Ok(());
        };
        // What a link says may be the name that an account has for the JetStream of another one.
        let (stream, over) = (stream_of(subject), self.connections());
        if self.real.is_known(stream, over, took) {
            return Ok(());
        }
        let known = self
            .told(format!("STREAM.INFO.{stream}"), ANSWER_LIMIT)
            .await;
        if known.get("config").is_some() && domain_of(&known) == took {
            self.real.note(stream, over, took);
            return Ok(());
        }
        if known.is_null() {
            // Where the line to the link's domain is cut, one on this side has taken it.
            return Err(QueueError::unavailable(format!(
                "the JetStream domain `{took}` took the message, and the one that the link calls `{said}` did \
                 not say in time whether it is the same"
            )));
        }
        Err(QueueError::unavailable(format!(
            "the JetStream domain `{took}` took the message, and the link says `{said}`: both have a stream \
             on `{subject}`; another `stream_prefix` keeps them apart"
        )))
    }

    /// Acknowledges and waits for the server to say so.
    pub(crate) async fn acknowledge(&self, ack: &str, kind: AckKind) -> Result<(), QueueError> {
        let asked = self.nats.request(ack.to_owned(), kind.into());
        let answer = self.answer(self.connections(), ANSWER_LIMIT, asked);
        match answer.await {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                Err(self.unheard(ack).await)
            }
            Some(Err(error)) => Err(QueueError::unavailable(error.to_string())),
            None => Err(silent("acknowledge a message")),
        }
    }

    /// Lets go of a delivery that nobody waits for any more, as far as the connection is there.
    pub(crate) async fn let_go(&self, ack: &str) {
        if self.connected().is_ok() {
            let nak = AckKind::Nak(None);
            // When it does not arrive, the server lets go by itself.
            self.nats.publish(ack.to_owned(), nak.into()).await.ok();
        }
    }
}

fn silent(what: &str) -> QueueError {
    QueueError::unavailable(format!("NATS did not {what} within {ANSWER_LIMIT:?}"))
}

fn leaderless(stream: &str) -> QueueError {
    QueueError::unavailable(format!(
        "nobody answers for the stream `{stream}` at the moment; its servers may be choosing a leader"
    ))
}

/// The stream of a subject, which begins with its name.
fn stream_of(subject: &str) -> &str {
    subject
        .split_once('.')
        .map_or(subject, |(stream, _)| stream)
}

/// The domain that an answer names; empty for none.
fn domain_of(told: &Value) -> &str {
    told.get("domain").and_then(Value::as_str).unwrap_or("")
}

fn refused(error: &Value, most: usize) -> QueueError {
    let code = error.get("err_code").and_then(Value::as_u64);
    let why = error.get("description").and_then(Value::as_str);
    let why = why.unwrap_or("no reason given").to_owned();
    match code {
        Some(MESSAGE_TOO_LARGE) => QueueError::TooLarge(most as u64),
        Some(STORE_FAILED) if why.contains("maximum") => QueueError::Full(why),
        _ => QueueError::other(format!("NATS did not store a message: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::{self, stream::Config};
    use futures::{FutureExt as _, StreamExt as _};
    use lattice_nats_box::{NatsBox, NatsBoxOptions, taken_in};
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;

    /// That of a link which says this domain.
    fn wire(nats: &Client, domain: &str) -> Wire {
        Wire {
            nats: nats.clone(),
            jetstream: jetstream::with_domain(nats.clone(), domain),
            domain: Some(domain.into()),
            real: RealDomains::default(),
        }
    }

    #[tokio::test]
    async fn another_name_for_a_domain_is_looked_up_once() {
        let options = NatsBoxOptions {
            js_domain: Some("hub".to_owned()),
            extra_config: "mappings { \"$JS.alias.API.>\": \"$JS.API.>\" }\n".to_owned(),
            ..NatsBoxOptions::default()
        };
        let server = NatsBox::start_with(options).await.unwrap();
        let nats = server.client().await.unwrap();
        let config = Config {
            name: "s".to_owned(),
            ..Config::default()
        };
        let jetstream = jetstream::new(nats.clone());
        jetstream.create_stream(config).await.unwrap();
        let wire = wire(&nats, "alias");
        let (hub, leaf) = (json!({"domain": "hub"}), json!({"domain": "leaf"}));
        assert_eq!(wire.check_domain("s.one", &hub).await, Ok(()));
        // Nobody could say it again.
        jetstream.delete_stream("s").await.unwrap();
        assert_eq!(wire.check_domain("s.one", &hub).await, Ok(()));
        assert!(wire.check_domain("s.one", &leaf).await.is_err());
    }

    #[tokio::test]
    async fn messages_that_are_sent_together_ask_once_why_nobody_takes_them() {
        let server = NatsBox::start().await.unwrap();
        let nats = server.client().await.unwrap();
        // Somebody is asked, and does not answer.
        let mut asked = nats.subscribe("$JS.mute.API.>").await.unwrap();
        taken_in(&nats).await.unwrap();
        let (wire, reason) = (wire(&nats, "mute"), Reason::default());
        let begun = Instant::now();
        let sent = (0..3).map(|_| {
            let (subject, headers) = ("s.one".to_owned(), HeaderMap::new());
            wire.publish_among(subject, headers, Bytes::new(), 9, &reason)
        });
        for sent in futures::future::join_all(sent).await {
            assert!(matches!(sent, Err(QueueError::Unavailable(_))), "{sent:?}");
        }
        assert!(begun.elapsed() < ANSWER_LIMIT, "{:?}", begun.elapsed());
        taken_in(&nats).await.unwrap();
        assert!(matches!(asked.next().now_or_never(), Some(Some(_))));
        assert!(asked.next().now_or_never().is_none());
    }

    #[test]
    fn refusals_are_told_apart() {
        let full = json!({"err_code": 10077, "description": "maximum messages exceeded"});
        assert!(matches!(refused(&full, 9), QueueError::Full(_)));
        let disk = json!({"err_code": 10077, "description": "no space left"});
        assert!(matches!(refused(&disk, 9), QueueError::Other(_)));
        let large = json!({"err_code": 10054, "description": "message size exceeds maximum"});
        assert_eq!(refused(&large, 9), QueueError::TooLarge(9));
    }
}
