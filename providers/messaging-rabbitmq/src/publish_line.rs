//! One connection with the channels that publish.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, Consumer, ExchangeKind};
use lattice_rabbitmq::{
    Blocked, ExclusiveChannel, fits_frame, frame_size, open_channel, open_confirming_channel,
    takes_messages,
};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use crate::room::{Room, Taken};

/// What a request has besides what was looked at before: where its answer goes, and its number.
const ADDED: usize = 256;

/// The queue that stands for whoever asked.
pub(crate) const DIRECT: &str = "amq.rabbitmq.reply-to";

/// What comes of a request: its answer, or that no queue takes it.
type Answer = Result<Delivery, Unroutable>;
type Answers = Arc<Mutex<HashMap<String, mpsc::Sender<Answer>>>>;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Confirmed {
    /// The server has it.
    Taken,
    /// No queue takes it.
    Unroutable,
    /// The server does not take it.
    Refused,
}

/// No queue takes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unroutable;

/// Why a message was not sent, or why it is not known what became of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// The server reads nothing from who publishes.
    #[error(transparent)]
    Blocked(#[from] Blocked),
    /// Too much waits for the server already.
    #[error("RabbitMQ is far behind with what was published before, and the message was not sent")]
    Full,
    /// What the client says.
    #[error(transparent)]
    Client(#[from] lapin::Error),
    /// The process ends.
    #[error("the message was being sent when that was broken off")]
    BrokenOff(#[from] JoinError),
}

/// One connection that publishes; for all else there is [`IntakeLine`](crate::intake_line::IntakeLine). The
/// channels for what has to be routable have one message under way at a time: the client tells of a message
/// that no queue takes with whichever confirmation comes next, so what was returned is sure to be the message
/// that was sent only where there is no other.
pub(crate) struct PublishLine {
    connection: Connection,
    room: Room,
    /// For what need not be routable.
    publish: Channel,
    /// For what has to be.
    mandatory: ExclusiveChannel,
    /// For dead letters.
    letters: ExclusiveChannel,
    ask: Channel,
    answers: Answers,
    _listening: AbortOnDropHandle<()>,
}

impl lattice_rabbitmq::Line for PublishLine {
    /// A channel that the server has closed takes the line with it.
    fn is_up(&self) -> bool {
        let channels = [&self.publish, &self.ask];
        let open = channels.iter().all(|channel| channel.status().connected());
        open && self.connection.status().connected()
    }
}

impl PublishLine {
    /// What publishes to that exchange and asks there, on a new connection.
    pub(crate) async fn on(connection: Connection, exchange: String) -> lapin::Result<Self> {
        let publish = open_channel(&connection).await?;
        declare_exchange(&publish, &exchange).await?;
        publish
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        let ask = open_confirming_channel(&connection).await?;
        let options = BasicConsumeOptions {
            no_ack: true,
            ..BasicConsumeOptions::default()
        };
        let replies = ask.basic_consume(DIRECT.into(), "".into(), options, FieldTable::default());
        let replies = replies.await?;
        let answers = Answers::default();
        let listening = tokio::spawn(listen(replies, Arc::clone(&answers)));
        Ok(Self {
            connection,
            room: Room::new(),
            publish,
            mandatory: ExclusiveChannel::default(),
            letters: ExclusiveChannel::default(),
            ask,
            answers,
            _listening: AbortOnDropHandle::new(listening),
        })
    }

    /// Whether a message may have these properties. They have to fit into one frame: the server gives up the
    /// whole connection over others.
    pub(crate) fn takes(&self, properties: &BasicProperties) -> bool {
        fits_frame(&self.connection, properties, ADDED)
    }

    /// Refuses what is published while the server reads nothing: the client would keep all of it.
    pub(crate) fn check(&self) -> Result<(), Blocked> {
        takes_messages(&self.connection)
    }

    /// Whether messages are refused because too much waits for the server, or for what it confirms.
    pub(crate) fn is_full(&self) -> bool {
        self.room.is_full()
    }

    /// Waits for an answer of the server. Nobody consumes on that channel, so that what is asked
    /// changes nothing.
    pub(crate) async fn sync(&self) -> lapin::Result<()> {
        self.publish.basic_qos(0, BasicQosOptions::default()).await
    }

    /// Publishes, and waits until the server has confirmed.
    pub(crate) async fn publish(
        &self,
        exchange: &str,
        key: ShortString,
        mandatory: bool,
        body: Bytes,
        properties: BasicProperties,
    ) -> Result<Confirmed, SendError> {
        let message = Outgoing {
            exchange,
            key,
            mandatory,
            body,
            properties,
        };
        match mandatory {
            true => self.alone(&self.mandatory, message).await,
            false => {
                let room = self.room_for(&message).await?;
                send(&self.publish, message, room, read).await
            }
        }
    }

    /// Puts a dead letter into a queue, and waits until the server has confirmed.
    pub(crate) async fn post(
        &self,
        queue: ShortString,
        body: Bytes,
        properties: BasicProperties,
    ) -> Result<Confirmed, SendError> {
        let letter = Outgoing {
            exchange: "",
            key: queue,
            mandatory: true,
            body,
            properties,
        };
        self.alone(&self.letters, letter).await
    }

    async fn alone(
        &self,
        channel: &ExclusiveChannel,
        message: Outgoing<'_>,
    ) -> Result<Confirmed, SendError> {
        // Before the channel, which others want who find room.
        let room = self.room_for(&message).await?;
        let channel = channel.lend(&self.connection).await?;
        // It may have waited.
        if let Err(blocked) = self.check() {
            channel.give_back();
            return Err(blocked.into());
        }
        let sent = send(&channel, message, room, read).await;
        if sent.is_ok() {
            channel.give_back();
        }
        sent
    }

    /// Room for a message, if the server takes any: neither a new channel nor what is published is to wait for
    /// that.
    async fn room_for(&self, message: &Outgoing<'_>) -> Result<Taken, SendError> {
        self.check()?;
        let size = frame_size(&message.properties).saturating_add(message.body.len());
        let taken = self.room.take(size).await.ok_or(SendError::Full)?;
        // It may have waited.
        self.check()?;
        Ok(taken)
    }

    /// Publishes a request; the answers come by what is returned. `None` if the server does not take
    /// it.
    pub(crate) async fn ask(
        &self,
        question: Question<'_>,
        expected: usize,
    ) -> Result<Option<Asked>, SendError> {
        let Question {
            exchange,
            key,
            number,
            body,
            properties,
        } = question;
        let id = number.to_string();
        let asked = Asked::new(&self.answers, id.clone(), expected);
        let properties = properties
            .with_reply_to(DIRECT.into())
            .with_correlation_id(id.into());
        let message = Outgoing {
            exchange,
            key,
            mandatory: true,
            body,
            properties,
        };
        let answers = Arc::clone(&self.answers);
        let room = self.room_for(&message).await?;
        let sent = send(&self.ask, message, room, move |confirmed| {
            let is_taken = !confirmed.is_nack();
            // It need not be the message that is confirmed; whose it is is told that nobody listens.
            if let Some(returned) = confirmed.take_message() {
                tell(&answers, &returned.delivery.properties, Err(Unroutable));
            }
            is_taken
        });
        Ok(sent.await?.then_some(asked))
    }
}

/// What `read` makes of the confirmation, which it does though nobody waits any more.
async fn send<T: Send + 'static>(
    channel: &Channel,
    message: Outgoing<'_>,
    mut room: Taken,
    read: impl FnOnce(Confirmation) -> T + Send + 'static,
) -> Result<T, SendError> {
    let Outgoing {
        exchange,
        key,
        mandatory,
        body,
        properties,
    } = message;
    let (channel, exchange) = (channel.clone(), ShortString::from(exchange));
    let options = BasicPublishOptions {
        mandatory,
        ..BasicPublishOptions::default()
    };
    // Whoever waits may stop doing so, which takes nothing back from the client.
    let sending = tokio::spawn(async move {
        let sent = channel.basic_publish(exchange, key, options, &body, properties);
        let confirmed = sent.await?;
        // A channel that is not used again closes.
        drop((channel, body));
        room.written();
        confirmed.await.map(read)
    });
    Ok(sending.await??)
}

/// Makes the exchange that components publish to, if it is missing.
pub(crate) async fn declare_exchange(channel: &Channel, exchange: &str) -> lapin::Result<()> {
    // Every server has it.
    if exchange == "amq.topic" {
        return Ok(());
    }
    let options = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let (name, kind) = (exchange.into(), ExchangeKind::Topic);
    let declared = channel.exchange_declare(name, kind, options, FieldTable::default());
    declared.await
}

fn read(confirmed: Confirmation) -> Confirmed {
    if confirmed.is_nack() {
        return Confirmed::Refused;
    }
    match confirmed.take_message() {
        Some(_) => Confirmed::Unroutable,
        None => Confirmed::Taken,
    }
}

/// Tells the one whose request has these properties.
fn tell(answers: &Answers, properties: &BasicProperties, answer: Answer) {
    let id = properties.correlation_id().as_ref();
    let asker = id.and_then(|id| answers.lock().get(id.as_str()).cloned());
    if let Some(asker) = asker {
        // Who asked may have given up meanwhile, or have as many as it wants.
        let _ = asker.try_send(answer);
    }
}

async fn listen(mut replies: Consumer, answers: Answers) {
    while let Some(Ok(delivery)) = replies.next().await {
        let properties = delivery.properties.clone();
        tell(&answers, &properties, Ok(delivery));
    }
    // Nobody else will be answered.
    answers.lock().clear();
}

/// A message on its way.
struct Outgoing<'a> {
    exchange: &'a str,
    key: ShortString,
    mandatory: bool,
    body: Bytes,
    properties: BasicProperties,
}

/// A request on its way.
pub(crate) struct Question<'a> {
    pub(crate) exchange: &'a str,
    pub(crate) key: ShortString,
    /// No other request of the line has it.
    pub(crate) number: u64,
    pub(crate) body: Bytes,
    pub(crate) properties: BasicProperties,
}

/// A request that waits for its answers, until it is dropped.
pub(crate) struct Asked {
    answers: Answers,
    id: String,
    receiver: mpsc::Receiver<Answer>,
}

impl Asked {
    fn new(answers: &Answers, id: String, expected: usize) -> Self {
        let (sender, receiver) = mpsc::channel(expected);
        answers.lock().insert(id.clone(), sender);
        Self {
            answers: Arc::clone(answers),
            id,
            receiver,
        }
    }

    /// The next answer; `None` when the connection is lost.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        self.receiver.recv().await
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.answers.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::future::join_all;
    use lattice_provider_sdk::Settings;
    use lattice_services::{Kind, Service};
    use tokio::time::timeout;

    use super::*;
    use crate::rabbit::Rabbit;
    use crate::settings::ServerSettings;

    const PATIENCE: Duration = Duration::from_secs(30);

    async fn rabbit(server: &Service) -> Rabbit {
        let url = server.url();
        let settings = Settings::from_texts([("url", url.as_str())], []);
        let settings = ServerSettings::read(&settings).unwrap();
        Rabbit::connect(&settings, "test").await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_waits_for_a_server_is_bounded_though_nobody_waits_for_it_any_more() {
        let server = Service::start(Kind::RabbitMq).await.unwrap();
        let rabbit = rabbit(&server).await;
        let line = rabbit.line().unwrap();
        // Three leave no room for a fourth.
        let body = Bytes::from(vec![0; 20 << 20]);
        let publish_as = |mandatory: bool| {
            let properties = BasicProperties::default();
            line.publish("amq.topic", "a".into(), mandatory, body.clone(), properties)
        };
        let publish = || publish_as(false);
        server.freeze().unwrap();
        for _ in 0..3 {
            let given_up = timeout(Duration::from_millis(100), publish());
            assert!(given_up.await.is_err());
        }
        for mandatory in [false, true] {
            let refused = timeout(PATIENCE, publish_as(mandatory)).await.unwrap();
            let refused = refused.unwrap_err();
            assert!(matches!(refused, SendError::Full), "{refused}");
        }
        let trouble = rabbit.trouble().await.unwrap();
        assert!(trouble.contains("far behind"), "{trouble}");
        server.thaw().unwrap();
        let taken = async { while publish().await.is_err() {} };
        timeout(PATIENCE, taken).await.unwrap();
        assert!(!line.is_full());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_asks_is_told_that_nobody_listens_though_others_give_up() {
        let server = Service::start(Kind::RabbitMq).await.unwrap();
        let rabbit = rabbit(&server).await;
        let line = rabbit.line().unwrap();
        let ask = |number: u64| {
            let question = Question {
                exchange: "amq.topic",
                key: "nobody".into(),
                number,
                body: Bytes::new(),
                properties: BasicProperties::default(),
            };
            line.ask(question, 1)
        };
        server.freeze().unwrap();
        let leaving = async {
            let asked = (0..64).map(|number| timeout(Duration::from_millis(300), ask(number)));
            let given_up = join_all(asked).await;
            assert!(given_up.iter().all(Result::is_err));
            server.thaw().unwrap();
        };
        let staying = async {
            for asked in join_all((64..128).map(ask)).await {
                let answer = asked.unwrap().unwrap().answer().await;
                assert_eq!(answer.unwrap().err(), Some(Unroutable));
            }
        };
        let all = async { tokio::join!(leaving, staying) };
        timeout(PATIENCE, all).await.unwrap();
    }
}
