//! What a component publishes and asks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lattice_provider_sdk::messaging::{Broker, BrokerMessage, MessagingError};
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
    fn outbound(
        &self,
        cx: &Context,
        subject: String,
        body: Bytes,
    ) -> Result<Outbound, MessagingError> {
        let mut properties = message::properties(cx.trace.as_ref());
        let Some((topic, correlation)) = message::destination(&subject) else {
            return Err(MessagingError::Subject {
                subject,
                why: "after the `#` of a topic only the correlation data of a `reply-to` may stand",
            });
        };
        properties.correlation_data = correlation;
        Ok(Outbound {
            topic: topic.to_owned(),
            body,
            properties,
            kept: self.kept,
            retain: self.retain,
        })
    }
}

impl Broker for MqttBroker {
    async fn publish(&self, cx: &Context, message: BrokerMessage) -> Result<(), MessagingError> {
        let mut out = self.outbound(cx, message.subject, message.body)?;
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
        subject: String,
        body: Bytes,
        timeout: Duration,
    ) -> Result<BrokerMessage, MessagingError> {
        let mut out = self.outbound(cx, subject.clone(), body)?;
        out.retain = false;
        match tokio::time::timeout(timeout, self.publisher.ask(out)).await {
            Ok(answer) => Ok(message::arriving(&answer?).message),
            Err(_) => Err(MessagingError::Timeout {
                subject,
                after: timeout,
            }),
        }
    }
}
