//! Where messages go that could not be delivered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lattice_provider_sdk::Backoff;
use lattice_provider_sdk::messaging::{
    Carried, DeadLetter, DeadLetterTo, DeliveryRules, MessagingError,
};
use parking_lot::Mutex;
use rumqttc::v5::mqttbytes::v5::{PubAckReason, Publish, PublishProperties};

use crate::message;
use crate::publisher::{Outbound, Publisher};

/// The first and the longest pause after an error.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often it is looked whether somebody hears of a letter whose message the broker does not keep.
const TRIES: usize = 5;

/// Where the letters of a link go.
#[derive(Debug)]
pub(crate) struct DeadLetterTarget {
    /// The topic, if they go anywhere.
    topic: Option<String>,
    /// Whether the link names it.
    is_named: bool,
    /// Whether the broker keeps the message for as long as its letter cannot be posted.
    is_kept: bool,
    /// Why no letter can be posted at the moment.
    pub(crate) trouble: Arc<Mutex<Option<String>>>,
}

impl DeadLetterTarget {
    /// That of a link whose component is called `component`.
    pub(crate) fn new(rules: &DeliveryRules, component: &str, is_kept: bool) -> Self {
        let usual = || format!("lattice/dead/{component}");
        let (topic, is_named) = match &rules.dead_letter {
            DeadLetterTo::Nowhere => (None, false),
            DeadLetterTo::Named(topic) => (Some(topic.clone()), true),
            DeadLetterTo::Usual => (Some(usual()), false),
        };
        Self {
            topic,
            is_named,
            is_kept,
            trouble: Arc::default(),
        }
    }

    /// Whether no letter is lost.
    pub(crate) fn keeps(&self) -> bool {
        self.is_named && self.is_kept
    }
}

/// Posts a letter, for as long as it takes. Brokers forget what nobody subscribes to: where the link
/// names the topic, that somebody does is waited for. Of a topic that nobody named, and after a while
/// of a message that the broker does not keep, the log has to do.
pub(crate) async fn post(
    publisher: &Publisher,
    dead_letter_target: &DeadLetterTarget,
    original: &Publish,
    letter: &DeadLetter,
) {
    let Some(topic) = &dead_letter_target.topic else {
        return;
    };
    if letter.goes_round(&message::arriving(original), topic) {
        return;
    }
    let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
    let (mut carried, mut unheard) = (Carried::All, 0);
    while let Err(failed) = attempt(publisher, topic, parts(original, letter, carried)).await {
        if let Failed::Error(error @ MessagingError::TooLarge { .. }) = &failed {
            match carried.less(letter, error) {
                Some(less) => carried = less,
                None => break,
            }
            continue;
        }
        unheard += usize::from(matches!(failed, Failed::Unheard));
        if unheard > 0 && !dead_letter_target.is_named
            || unheard >= TRIES && !dead_letter_target.is_kept
        {
            tracing::error!(topic, "lost a dead letter, of which nobody hears");
            break;
        }
        let what = format!("could not post a dead letter to `{topic}`: {failed}");
        tracing::warn!("{what}; the message is kept");
        *dead_letter_target.trouble.lock() = Some(what);
        tokio::time::sleep(backoff.delay()).await;
    }
    *dead_letter_target.trouble.lock() = None;
}

/// Why a letter was not posted.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("nobody subscribes to it")]
    Unheard,
    #[error(transparent)]
    Error(#[from] MessagingError),
}

async fn attempt(
    publisher: &Publisher,
    topic: &str,
    (body, properties): (Bytes, PublishProperties),
) -> Result<(), Failed> {
    let out = Outbound {
        topic: topic.to_owned(),
        body,
        properties,
        kept: true,
        retain: false,
    };
    match publisher.publish(out).await? {
        PubAckReason::NoMatchingSubscribers => Err(Failed::Unheard),
        _ => Ok(()),
    }
}

/// What a letter consists of: what it carries of the message, and what that failed of.
fn parts(original: &Publish, letter: &DeadLetter, carried: Carried) -> (Bytes, PublishProperties) {
    let theirs = original.properties.as_ref();
    let theirs = theirs.filter(|_| carried.has_headers());
    let mut properties = theirs.cloned().unwrap_or_default();
    properties.topic_alias = None;
    // What the message could wait for its reader is no time for its letter.
    properties.message_expiry_interval = None;
    properties.subscription_identifiers.clear();
    let mut put = |name: &str, value| properties.user_properties.push((name.to_owned(), value));
    for (name, value) in letter.headers() {
        put(name, value);
    }
    if carried.has_body() {
        return (original.payload.clone(), properties);
    }
    put(DeadLetter::SIZE, original.payload.len().to_string());
    (Bytes::new(), properties)
}

#[cfg(test)]
mod tests {
    use rumqttc::v5::mqttbytes::QoS;

    use super::*;

    #[test]
    fn a_letter_outlives_its_message() {
        let theirs = PublishProperties {
            message_expiry_interval: Some(2),
            content_type: Some("text/plain".to_owned()),
            ..PublishProperties::default()
        };
        let original = Publish::new("orders", QoS::AtLeastOnce, "x", Some(theirs));
        let letter = DeadLetter {
            cause: "no".to_owned(),
            subject: "orders".to_owned(),
            attempts: 1,
            component: "cart".to_owned(),
            reply_to: None,
        };
        let (body, properties) = parts(&original, &letter, Carried::All);
        assert_eq!(&body[..], b"x");
        assert_eq!(properties.message_expiry_interval, None);
        assert_eq!(properties.content_type.as_deref(), Some("text/plain"));
    }
}
