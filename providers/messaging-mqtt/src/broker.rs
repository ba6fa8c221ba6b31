//! What a component publishes and asks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lattice_provider_sdk::messaging::{Broker, Message, MessagingError, Replies};
use lattice_provider_sdk::{Context, Shared};

use crate::message;
use crate::publisher::{Outbound, Publisher};
use crate::settings::is_topic;

/// How much of a subject an error shows.
const LONGEST_SHOWN: usize = 256;

/// The broker behind one link.
pub(crate) struct MqttBroker {
    pub(crate) publisher: Arc<Shared<Publisher>>,
    pub(crate) kept: bool,
    pub(crate) retain: bool,
}

/// The topic of a subject or of a `reply-to`, and the correlation data in it. The broker would hang up over
/// what is none, and not on the component alone: the connection is that of all links to it.
fn read(subject: &str) -> Result<(String, Option<Bytes>), MessagingError> {
    let refuse = |why| {
        Err(MessagingError::Subject {
            subject: subject.chars().take(LONGEST_SHOWN).collect(),
            why,
        })
    };
    let Some((topic, correlation)) = message::destination(subject) else {
        return refuse(
            "after the `#` of a topic only the correlation data of a `reply-to` may stand",
        );
    };
    if !is_topic(topic) {
        return refuse(
            "an MQTT topic is words joined by `/`, of 65,535 bytes at most, without `+`, `#` and \
             control characters",
        );
    }
    let size = correlation.as_ref().map_or(0, Bytes::len);
    if size > message::LONGEST {
        return refuse("correlation data have 65,535 bytes at most");
    }
    Ok((topic.to_owned(), correlation))
}

impl MqttBroker {
    fn outbound(&self, cx: &Context, message: &Message) -> Result<Outbound, MessagingError> {
        message::check(message)?;
        let mut properties = message::properties(message, cx.trace.as_ref());
        let (topic, correlation) = read(&message.subject)?;
        properties.correlation_data = correlation;
        Ok(Outbound {
            topic,
            body: message.body.clone(),
            properties,
            kept: self.kept,
            retain: self.retain,
        })
    }
}

impl Broker for MqttBroker {
    async fn publish(&self, cx: &Context, message: Message) -> Result<(), MessagingError> {
        let mut out = self.outbound(cx, &message)?;
        let reply_to = message.reply_to.filter(|reply_to| !reply_to.is_empty());
        if let Some(reply_to) = reply_to {
            let (topic, correlation) = read(&reply_to)?;
            out.properties.response_topic = Some(topic);
            out.properties.correlation_data = correlation;
        }
        self.publisher.publish(out).await.map(drop)
    }

    async fn request(
        &self,
        cx: &Context,
        message: Message,
        _timeout: Duration,
        replies: &mut Replies,
    ) -> Result<(), MessagingError> {
        let mut out = self.outbound(cx, &message)?;
        out.retain = false;
        let mut asked = self.publisher.ask(out, replies.expected()).await?;
        while let Some(answer) = asked.answer().await {
            if replies.take(message::arriving(&answer).message) {
                return Ok(());
            }
        }
        Err(MessagingError::Disconnected("the MQTT broker"))
    }
}
