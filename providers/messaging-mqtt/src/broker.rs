//! What a component publishes and asks.

use std::sync::Arc;
use std::time::Duration;

use lattice_provider_sdk::messaging::{Broker, Message, MessagingError, Replies};
use lattice_provider_sdk::{Context, Shared};

use crate::message;
use crate::publisher::{Outbound, Publisher};

/// The broker behind one link.
pub(crate) struct MqttBroker {
    pub(crate) publisher: Arc<Shared<Publisher>>,
    pub(crate) kept: bool,
    pub(crate) retain: bool,
}

impl MqttBroker {
    fn outbound(&self, cx: &Context, message: &Message) -> Result<Outbound, MessagingError> {
        message::check(message)?;
        let mut properties = message::properties(message, cx.trace.as_ref());
        let Some((topic, correlation)) = message::destination(&message.subject) else {
            return Err(MessagingError::Subject {
                subject: message.subject.clone(),
                why: "after the `#` of a topic only the correlation data of a `reply-to` may stand",
            });
        };
        properties.correlation_data = correlation;
        Ok(Outbound {
            topic: topic.to_owned(),
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
        if let Some(reply_to) = message.reply_to {
            let Some((topic, correlation)) = message::destination(&reply_to) else {
                return Err(MessagingError::Subject {
                    subject: reply_to,
                    why: "it is the `reply-to` of a message, and no MQTT topic",
                });
            };
            out.properties.response_topic = Some(topic.to_owned());
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
