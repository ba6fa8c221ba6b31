//! What a component publishes and asks.

use std::sync::Arc;
use std::time::Duration;

use lapin::types::ShortString;
use lapin::{BasicProperties, ErrorKind};
use lattice_provider_sdk::messaging::{Broker, Message, MessagingError, Replies};
use lattice_provider_sdk::{Context, Shared, chain};

use crate::message::{self, Destination};
use crate::publish_line::{Confirmed, PublishLine, Question, SendError};
use crate::rabbit::Rabbit;
use crate::settings::is_name;

/// How long the server may take to confirm a message: one that is silent is hung up on much later.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(4);

/// The server behind one link.
pub(crate) struct RabbitBroker {
    pub(crate) rabbit: Arc<Shared<Rabbit>>,
    pub(crate) mandatory: bool,
}

fn bad(subject: &str, why: &'static str) -> MessagingError {
    MessagingError::Subject {
        subject: subject.to_owned(),
        why,
    }
}

fn read(subject: &str) -> Result<Destination<'_>, MessagingError> {
    let read = message::destination(subject);
    read.ok_or_else(|| {
        bad(
            subject,
            "it begins like the `reply-to` of a request, and is none",
        )
    })
}

/// A routing key, or the name of a queue.
fn key(text: &str) -> Result<ShortString, MessagingError> {
    let why = "a routing key has 1 to 255 bytes, and no control characters";
    let short = is_name(text).then(|| message::short(text).ok()).flatten();
    short.ok_or_else(|| bad(text, why))
}

/// Refuses a message whose headers the server does not take: each value of a list takes more than its bytes.
fn fits(
    line: &PublishLine,
    message: &Message,
    properties: &BasicProperties,
) -> Result<(), MessagingError> {
    if line.takes(properties) {
        return Ok(());
    }
    let first = message.metadata.first().map_or("", |(name, _)| name);
    Err(MessagingError::Metadata {
        name: first.chars().take(64).collect(),
        why: "all of it together does not fit into a frame of RabbitMQ",
    })
}

/// Why a message that was sent was not confirmed.
fn failed(subject: &str, error: &SendError) -> MessagingError {
    match error {
        SendError::Blocked(_) | SendError::Full => MessagingError::other(error.to_string()),
        SendError::Client(told) if matches!(told.kind(), ErrorKind::ProtocolError(_)) => {
            MessagingError::other(chain(told))
        }
        // The connection broke, and nobody knows what has arrived before.
        SendError::Client(_) | SendError::BrokenOff(_) => MessagingError::Unconfirmed {
            subject: subject.to_owned(),
        },
    }
}

impl RabbitBroker {
    fn check(&self, message: &Message) -> Result<(), MessagingError> {
        message::check(message)?;
        let (size, limit) = (message.size(), self.rabbit.settings.largest);
        MessagingError::check_size(&message.subject, size, limit, "the link's")
    }
}

impl Broker for RabbitBroker {
    async fn publish(&self, cx: &Context, message: Message) -> Result<(), MessagingError> {
        let subject = message.subject.as_str();
        self.check(&message)?;
        let reply_to = match &message.reply_to {
            Some(reply_to) => Some((reply_to.as_str(), read(reply_to)?)),
            None => None,
        };
        let properties = message::properties(&message, cx.trace.as_ref(), reply_to);
        let (exchange, routing, properties) = match read(subject)? {
            Destination::Subject(subject) => {
                let exchange = self.rabbit.settings.exchange.as_str();
                (exchange, key(subject)?, properties)
            }
            Destination::Queue { queue, correlation } => {
                let properties = match message::short(&correlation) {
                    Ok(id) => properties.with_correlation_id(id),
                    Err(_) => return Err(bad(subject, "its correlation id is too long")),
                };
                ("", key(queue)?, properties)
            }
        };
        let line = self.rabbit.line()?;
        fits(&line, &message, &properties)?;
        let body = message.body.clone();
        let sent = line.publish(exchange, routing, self.mandatory, body, properties);
        let unconfirmed = || MessagingError::Unconfirmed {
            subject: subject.to_owned(),
        };
        let sent = tokio::time::timeout(CONFIRMED_WITHIN, sent).await;
        let sent = sent.map_err(|_| unconfirmed())?;
        match sent.map_err(|e| failed(subject, &e))? {
            Confirmed::Taken => Ok(()),
            Confirmed::Unroutable => Err(MessagingError::NobodyListens {
                subject: message.subject,
            }),
            Confirmed::Refused => Err(MessagingError::other(format!(
                "RabbitMQ does not take the message on `{subject}`"
            ))),
        }
    }

    async fn request(
        &self,
        cx: &Context,
        message: Message,
        _timeout: Duration,
        replies: &mut Replies,
    ) -> Result<(), MessagingError> {
        self.check(&message)?;
        let routing = key(&message.subject)?;
        let properties = message::properties(&message, cx.trace.as_ref(), None);
        let line = self.rabbit.line()?;
        fits(&line, &message, &properties)?;
        let question = Question {
            exchange: &self.rabbit.settings.exchange,
            key: routing,
            number: self.rabbit.number(),
            body: message.body.clone(),
            properties,
        };
        let sent = line.ask(question, replies.expected()).await;
        let asked = sent.map_err(|e| failed(&message.subject, &e))?;
        let refused = || MessagingError::other("RabbitMQ does not take the request");
        let mut asked = asked.ok_or_else(refused)?;
        while let Some(answer) = asked.answer().await {
            let Ok(answer) = answer else {
                let subject = message.subject;
                return Err(MessagingError::NobodyListens { subject });
            };
            if replies.take(message::arriving(&answer).message) {
                return Ok(());
            }
        }
        Err(MessagingError::Disconnected("RabbitMQ"))
    }
}
