//! One connection with the channels that publish.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions,
};
use lapin::tcp::OwnedTLSConfig;
use lapin::types::{FieldTable, ShortString};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer,
    ExchangeKind,
};
use lattice_provider_sdk::BoxError;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::message;
use crate::settings::ServerSettings;

/// What a request has besides what was looked at before: where its answer goes, and its number.
const ADDED: usize = 256;

/// How long one attempt to connect may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(4);
/// The queue that stands for whoever asked.
pub(crate) const DIRECT: &str = "amq.rabbitmq.reply-to";

/// What comes of a request: its answer, or that no queue takes it.
type Answer = Result<Delivery, Unroutable>;
type Answers = Arc<Mutex<HashMap<String, mpsc::Sender<Answer>>>>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("could not connect to RabbitMQ at `{place}`")]
pub(crate) struct ConnectError {
    pub(crate) place: String,
    pub(crate) source: BoxError,
}

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

/// A channel that has one message under way at a time. The client tells of a message that no queue
/// takes with whichever confirmation comes next, so what was returned is sure to be the message that
/// was sent only where there is no other. It is not here while it is used: one that was used by
/// somebody who did not wait for the end is not used again.
type Alone = tokio::sync::Mutex<Option<Channel>>;

/// One connection.
pub(crate) struct Line {
    pub(crate) connection: Connection,
    /// For what need not be routable.
    publish: Channel,
    /// For what has to be.
    mandatory: Alone,
    /// For dead letters.
    letters: Alone,
    ask: Channel,
    answers: Answers,
    _listening: AbortOnDropHandle<()>,
}

impl Line {
    pub(crate) async fn open(server: &ServerSettings, name: &str) -> Result<Self, ConnectError> {
        let uri = server.uri().map_err(|error| ConnectError {
            place: String::new(),
            source: error.into(),
        })?;
        let place = format!(
            "{}:{}/{}",
            uri.authority.host, uri.authority.port, uri.vhost
        );
        let failed = |source| ConnectError {
            place: place.clone(),
            source,
        };
        let opened = tokio::time::timeout(CONNECT_WITHIN, Self::connect(uri, server, name)).await;
        match opened {
            Ok(opened) => opened.map_err(|error| failed(error.into())),
            Err(_) => Err(failed(
                format!("no answer within {CONNECT_WITHIN:?}").into(),
            )),
        }
    }

    async fn connect(
        uri: lapin::uri::AMQPUri,
        server: &ServerSettings,
        name: &str,
    ) -> lapin::Result<Self> {
        let tls = OwnedTLSConfig {
            identity: None,
            cert_chain: server.authority.as_ref().map(|pem| pem.expose().to_owned()),
        };
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let runtime = lapin::runtime::default_runtime()?;
        let connection = Connection::connect_uri_with_config(uri, properties, tls, runtime).await?;
        let publish = connection.create_channel().await?;
        if server.exchange != "amq.topic" {
            let options = ExchangeDeclareOptions {
                durable: true,
                ..ExchangeDeclareOptions::default()
            };
            let (name, kind) = (server.exchange.as_str().into(), ExchangeKind::Topic);
            let declared = publish.exchange_declare(name, kind, options, FieldTable::default());
            declared.await?;
        }
        publish
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        let ask = confirming(&connection).await?;
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
            publish,
            mandatory: Alone::default(),
            letters: Alone::default(),
            ask,
            answers,
            _listening: AbortOnDropHandle::new(listening),
        })
    }

    /// Whether it can be used. A channel that the server has closed takes the line with it.
    pub(crate) fn is_up(&self) -> bool {
        let channels = [&self.publish, &self.ask];
        let open = channels.iter().all(|channel| channel.status().connected());
        open && self.connection.status().connected()
    }

    /// Whether a message may have these properties. They have to fit into one frame: the server gives up the
    /// whole connection over others.
    pub(crate) fn takes(&self, properties: &BasicProperties) -> bool {
        let limit = self.connection.configuration().frame_max();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        message::frame_size(properties).saturating_add(ADDED) <= limit
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
        body: &[u8],
        properties: BasicProperties,
    ) -> lapin::Result<Confirmed> {
        if mandatory {
            return self
                .alone(&self.mandatory, exchange, key, body, properties)
                .await;
        }
        let confirmed = send(&self.publish, exchange, key, false, body, properties).await?;
        Ok(read(confirmed))
    }

    /// Puts a dead letter into a queue, and waits until the server has confirmed.
    pub(crate) async fn post(
        &self,
        queue: ShortString,
        body: &[u8],
        properties: BasicProperties,
    ) -> lapin::Result<Confirmed> {
        self.alone(&self.letters, "", queue, body, properties).await
    }

    async fn alone(
        &self,
        channel: &Alone,
        exchange: &str,
        key: ShortString,
        body: &[u8],
        properties: BasicProperties,
    ) -> lapin::Result<Confirmed> {
        let mut place = channel.lock().await;
        let channel = match place.take().filter(|channel| channel.status().connected()) {
            Some(channel) => channel,
            None => confirming(&self.connection).await?,
        };
        let confirmed = send(&channel, exchange, key, true, body, properties).await?;
        *place = Some(channel);
        Ok(read(confirmed))
    }

    /// Publishes a request; the answers come by what is returned. `None` if the server does not take
    /// it.
    pub(crate) async fn ask(
        &self,
        question: Question<'_>,
        expected: usize,
    ) -> lapin::Result<Option<Asked>> {
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
        let confirmed = send(&self.ask, exchange, key, true, body, properties).await?;
        let is_refused = confirmed.is_nack();
        // It need not be the message that is confirmed; whose it is is told that nobody listens.
        if let Some(returned) = confirmed.take_message() {
            tell(
                &self.answers,
                &returned.delivery.properties,
                Err(Unroutable),
            );
        }
        Ok((!is_refused).then_some(asked))
    }
}

async fn confirming(connection: &Connection) -> lapin::Result<Channel> {
    let channel = connection.create_channel().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    Ok(channel)
}

async fn send(
    channel: &Channel,
    exchange: &str,
    key: ShortString,
    mandatory: bool,
    body: &[u8],
    properties: BasicProperties,
) -> lapin::Result<Confirmation> {
    let options = BasicPublishOptions {
        mandatory,
        ..BasicPublishOptions::default()
    };
    let sent = channel.basic_publish(exchange.into(), key, options, body, properties);
    sent.await?.await
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

/// A request on its way.
pub(crate) struct Question<'a> {
    pub(crate) exchange: &'a str,
    pub(crate) key: ShortString,
    /// No other request of the line has it.
    pub(crate) number: u64,
    pub(crate) body: &'a [u8],
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
