//! A connection that publishes, and hears the answers to what it asked.

mod session_talk;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lattice_provider_sdk::messaging::MessagingError;
use lattice_provider_sdk::{Backoff, BoxError};
use parking_lot::Mutex;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, PubAckReason, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::options;
use crate::settings::{ServerSettings, is_topic};
pub(crate) use session_talk::SessionTalk;
use session_talk::SessionTalks;
pub(crate) use waiting::Asked;
use waiting::Waiting;

/// How many messages may wait for their acknowledgement.
const AT_ONCE: usize = 64;
/// How many filters a packet has: AWS IoT Core hangs up over more.
const FILTERS_AT_ONCE: usize = 8;
/// The first and the longest pause before the connection is made again.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long a broker may take to acknowledge a message: one that is silent is noticed by its missing
/// answers to pings much later.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(4);
/// How long it may take to answer when it is asked how it does.
const CHECK_WITHIN: Duration = Duration::from_secs(2);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The certificates cannot be used.
    #[error("could not use the certificates")]
    Tls(#[source] BoxError),
    /// The broker is not there or refuses.
    #[error("could not connect to the MQTT broker at `{url}`")]
    Connect {
        url: String,
        source: Box<ConnectionError>,
    },
}

/// What is published.
pub(crate) struct Outbound {
    pub(crate) topic: String,
    pub(crate) body: Bytes,
    pub(crate) properties: PublishProperties,
    pub(crate) kept: bool,
    pub(crate) retain: bool,
}

impl Outbound {
    /// How large a packet it makes, with the number that it gets.
    fn packet_size(&self) -> usize {
        let (topic, properties) = (self.topic.as_str(), self.properties.clone());
        let packet = Publish::new(topic, QoS::AtLeastOnce, self.body.clone(), Some(properties));
        packet.size() + size_of::<u16>()
    }
}

/// A connection that publishes.
pub(crate) struct Publisher {
    client: AsyncClient,
    /// Its name, which no other connection has.
    id: String,
    waiting: Arc<Mutex<Waiting>>,
    talks: Arc<Mutex<SessionTalks>>,
    room: Semaphore,
    /// Answers arrive below this topic.
    answers: String,
    next: AtomicU64,
    /// The largest body that the link lets through.
    pub(crate) largest: usize,
    _task: AbortOnDropHandle<()>,
}

impl Publisher {
    /// Connects as `id`.
    pub(crate) async fn connect(server: &ServerSettings, id: &str) -> Result<Self, ConnectError> {
        let mut options = options::options(server, id).map_err(ConnectError::Tls)?;
        options.set_clean_start(true);
        let (client, mut events) = AsyncClient::new(options, AT_ONCE * 4);
        let first = first(&mut events).await;
        let connection = first.map_err(|source| ConnectError::Connect {
            url: server.shown(),
            source: Box::new(source),
        })?;
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let talks = Arc::new(Mutex::new(SessionTalks::default()));
        let answers = format!("lattice/answers/{id}");
        let reader = Reader {
            client: client.clone(),
            id: id.to_owned(),
            waiting: Arc::clone(&waiting),
            talks: Arc::clone(&talks),
            answers: answers.clone(),
        };
        reader.take(connection);
        let task = AbortOnDropHandle::new(tokio::spawn(reader.run(events)));
        Ok(Self {
            client,
            id: id.to_owned(),
            waiting,
            talks,
            room: Semaphore::new(AT_ONCE),
            answers,
            next: AtomicU64::new(1),
            largest: server.largest,
            _task: task,
        })
    }

    /// Whether there is a connection right now.
    pub(crate) fn is_connected(&self) -> bool {
        self.waiting.lock().is_connected()
    }

    /// The largest body that the broker lets through, and the link.
    pub(crate) fn limit(&self) -> usize {
        let brokers = self.waiting.lock().largest_packet();
        // A packet has a topic and properties too.
        brokers.saturating_sub(1024).min(self.largest)
    }

    /// Publishes, and waits until the broker has acknowledged it, if it does.
    pub(crate) async fn publish(&self, out: Outbound) -> Result<PubAckReason, MessagingError> {
        if !is_topic(&out.topic) {
            return Err(MessagingError::Subject {
                subject: out.topic,
                why: "an MQTT topic is words joined by `/`, without `+`, `#` and control characters",
            });
        }
        let limit = self.limit();
        MessagingError::check_size(
            &out.topic,
            out.body.len(),
            limit,
            "the MQTT broker's or the link's",
        )?;
        // The client gives its connection up over a packet that is too large for the broker.
        MessagingError::check_size(
            &out.topic,
            out.packet_size(),
            self.waiting.lock().largest_packet(),
            "the MQTT broker's",
        )?;
        let topic = out.topic.clone();
        let acknowledged = tokio::time::timeout(ACKNOWLEDGED_WITHIN, self.acknowledged(out)).await;
        let reason = acknowledged.unwrap_or_else(|_| {
            Err(MessagingError::Unconfirmed {
                subject: topic.clone(),
            })
        })?;
        match reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(reason),
            refused => Err(MessagingError::other(format!(
                "the MQTT broker refuses the message on `{topic}`: {refused:?}"
            ))),
        }
    }

    /// Publishes when there is room, and waits until the broker says that it has the message.
    async fn acknowledged(&self, out: Outbound) -> Result<PubAckReason, MessagingError> {
        let room = self.room.acquire().await;
        let _room = room.map_err(|_| MessagingError::Disconnected("the MQTT broker"))?;
        let subject = out.topic.clone();
        let acknowledged = hand_over(&self.client, &self.waiting, out)?.await;
        acknowledged.map_err(|_| MessagingError::Unconfirmed { subject })
    }

    /// Asks the broker for something that changes nothing, and waits for its answer.
    pub(crate) async fn check(&self) -> Result<(), MessagingError> {
        let gone = || MessagingError::Disconnected("the MQTT broker");
        let mut answers = self.waiting.lock().checked();
        if !self.is_connected() {
            return Err(gone());
        }
        // Nobody subscribes to this.
        let asked = self
            .client
            .try_unsubscribe(format!("{}/none", self.answers));
        asked.map_err(|e| MessagingError::other(format!("could not ask the MQTT broker: {e}")))?;
        match tokio::time::timeout(CHECK_WITHIN, answers.changed()).await {
            Ok(Ok(())) if self.is_connected() => Ok(()),
            Ok(_) => Err(gone()),
            Err(_) => Err(MessagingError::other(format!(
                "the MQTT broker did not answer within {CHECK_WITHIN:?}"
            ))),
        }
    }

    /// Publishes a request, whose answers come by what is returned.
    pub(crate) async fn ask(
        &self,
        mut out: Outbound,
        expected: usize,
    ) -> Result<Asked, MessagingError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let asked = Asked::new(&self.waiting, number, expected);
        let subject = out.topic.clone();
        self.answers_are_heard().await?;
        out.properties.response_topic = Some(format!("{}/{number}", self.answers));
        out.properties.correlation_data = Some(Bytes::copy_from_slice(&number.to_be_bytes()));
        out.kept = true;
        if self.publish(out).await? == PubAckReason::NoMatchingSubscribers {
            return Err(MessagingError::NobodyListens { subject });
        }
        Ok(asked)
    }

    /// Hears these topics, on which copies speak of sessions; without a connection from the next one on.
    fn hear(&self, topics: &[String]) {
        let waiting = self.waiting.lock();
        if waiting.is_connected() {
            subscribe(&self.client, topics);
        }
    }

    /// Waits until the broker has the subscription to the answers.
    async fn answers_are_heard(&self) -> Result<(), MessagingError> {
        let mut heard = self.waiting.lock().heard();
        match heard.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Err(why))) => Err(MessagingError::other(format!(
                "the MQTT broker does not let this provider subscribe to `{}/+`, where answers arrive: {why}",
                self.answers
            ))),
            _ => Ok(()),
        }
    }
}

/// Gives a message to a connection. Under the lock, so that what waits is in the order of what is
/// sent, and nothing is handed to a connection that has just been given up.
fn hand_over(
    client: &AsyncClient,
    waiting: &Mutex<Waiting>,
    out: Outbound,
) -> Result<oneshot::Receiver<PubAckReason>, MessagingError> {
    let qos = match out.kept {
        true => QoS::AtLeastOnce,
        false => QoS::AtMostOnce,
    };
    let mut waiting = waiting.lock();
    if !waiting.is_connected() {
        return Err(MessagingError::Disconnected("the MQTT broker"));
    }
    let sent =
        client.try_publish_with_properties(out.topic, qos, out.retain, out.body, out.properties);
    sent.map_err(|e| MessagingError::other(format!("could not publish: {e}")))?;
    Ok(waiting.push())
}

/// Waits for the first connection, or what prevents it.
async fn first(events: &mut EventLoop) -> Result<Event, ConnectionError> {
    loop {
        let event = events.poll().await?;
        if matches!(event, Event::Incoming(Packet::ConnAck(_))) {
            return Ok(event);
        }
    }
}

fn subscribe(client: &AsyncClient, topics: &[String]) {
    for some in topics.chunks(FILTERS_AT_ONCE) {
        let filters = some.iter();
        let filters = filters.map(|topic| Filter::new(topic, QoS::AtLeastOnce));
        if let Err(error) = client.try_subscribe_many(filters) {
            tracing::warn!(%error, ?some, "could not subscribe");
        }
    }
}

/// The task of a connection.
struct Reader {
    client: AsyncClient,
    id: String,
    waiting: Arc<Mutex<Waiting>>,
    talks: Arc<Mutex<SessionTalks>>,
    answers: String,
}

impl Reader {
    async fn run(self, mut events: EventLoop) {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        loop {
            match events.poll().await {
                Ok(event) => {
                    backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
                    self.take(event);
                }
                Err(error) => {
                    self.lost(&mut events, &error);
                    tokio::time::sleep(backoff.delay()).await;
                }
            }
        }
    }

    /// Tells all who wait; nothing of what was not acknowledged is sent again behind their backs.
    fn lost(&self, events: &mut EventLoop, error: &ConnectionError) {
        let mut waiting = self.waiting.lock();
        if waiting.is_connected() {
            tracing::warn!(%error, "lost the connection to the MQTT broker, connecting again");
        }
        events.clean();
        events.pending.clear();
        events.state.events.clear();
        waiting.disconnected();
    }

    /// Notes what another copy says of a session, and answers where it asks.
    fn hear_talk(&self, topic: &str, body: &[u8]) {
        let answer = self.talks.lock().heard(topic, body);
        let Some(answer) = answer else {
            return;
        };
        // Nobody waits for its acknowledgement.
        if let Err(error) = hand_over(&self.client, &self.waiting, answer) {
            tracing::warn!(%error, "could not say that an MQTT session is held");
        }
    }

    /// There is a connection: hears answers and, behind them, what is said of sessions.
    fn connected(&self, largest: Option<u32>) {
        let mut waiting = self.waiting.lock();
        waiting.connected(largest);
        // Alone and under the lock, so that the broker acknowledges it before any other.
        subscribe(&self.client, &[format!("{}/+", self.answers)]);
        let topics = self.talks.lock().topics();
        subscribe(&self.client, &topics);
    }

    fn take(&self, event: Event) {
        match event {
            Event::Incoming(Packet::ConnAck(ack)) => {
                self.connected(ack.properties.and_then(|p| p.max_packet_size));
            }
            Event::Incoming(Packet::SubAck(ack)) => self.waiting.lock().subscribed(&ack),
            Event::Incoming(Packet::UnsubAck(_)) => self.waiting.lock().unsubscribed(),
            Event::Incoming(Packet::PubAck(ack)) => {
                self.waiting.lock().acknowledged(ack.pkid, ack.reason);
            }
            Event::Incoming(Packet::Publish(publish)) => {
                let topic = std::str::from_utf8(&publish.topic).unwrap_or_default();
                let number = topic.strip_prefix(&self.answers);
                let number = number.and_then(|rest| rest.strip_prefix('/'));
                if let Some(number) = number.and_then(|rest| rest.parse().ok()) {
                    self.waiting.lock().answered(number, publish);
                } else if publish.payload != self.id {
                    self.hear_talk(topic, &publish.payload);
                }
            }
            Event::Outgoing(Outgoing::Publish(packet)) => self.waiting.lock().sent(packet),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_as_large_as_it_is_written() {
        let headers = vec![("lattice-cause".to_owned(), "x".repeat(300))];
        let out = Outbound {
            topic: "a/b".into(),
            body: Bytes::from_static(&[7; 1000]),
            properties: PublishProperties {
                user_properties: headers,
                ..PublishProperties::default()
            },
            kept: true,
            retain: false,
        };
        let mut packet = Publish::new("a/b", QoS::AtLeastOnce, out.body.clone(), None);
        packet.properties = Some(out.properties.clone());
        packet.pkid = 1;
        let mut written = bytes::BytesMut::new();
        packet.write(&mut written).unwrap();
        assert_eq!(out.packet_size(), written.len());
    }
}
