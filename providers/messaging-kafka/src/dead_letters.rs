//! Where messages go that could not be delivered.

use std::time::Duration;

use lattice_provider_sdk::Backoff;
use lattice_provider_sdk::messaging::{Carried, DeadLetter, DeadLetterTo, MessagingError};
use rdkafka::Message as _;
use rdkafka::message::{Headers as _, OwnedHeaders, OwnedMessage};

use crate::client::{Kafka, Outbound, Unpublished};
use crate::message;
use crate::reader::Trouble;

/// The first and the longest pause after an error.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often brokers are asked for a topic that they may be making.
const TRIES: usize = 5;

/// Posts a dead letter, for as long as it takes where the link names the topic; `trouble` says
/// meanwhile why it does not succeed. Of a topic that nobody named, the log has to do where the
/// brokers have none: as in 1.x, the reader goes on.
pub(crate) async fn post(
    kafka: &Kafka,
    to: &DeadLetterTo,
    original: &OwnedMessage,
    letter: &DeadLetter,
    trouble: &Trouble,
) {
    let (topic, is_named) = match to {
        DeadLetterTo::Nowhere => return,
        DeadLetterTo::Named(topic) => (topic.clone(), true),
        DeadLetterTo::Usual => (format!("{}.dead", original.topic()), false),
    };
    if letter.goes_round(&message::arriving(original, false), &topic) {
        return;
    }
    if !is_named && let Some(why) = never_there(kafka, &topic).await {
        lose(&topic, &why);
        return;
    }
    let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
    let mut carried = Carried::All;
    while let Err(failed) = send(kafka, &topic, original, letter, carried).await {
        let error = failed.error;
        if let MessagingError::TooLarge { .. } = error {
            match carried.less(letter, &error) {
                Some(less) => carried = less,
                None => break,
            }
            continue;
        }
        if failed.has_no_topic && !is_named {
            lose(&topic, &error.to_string());
            break;
        }
        tracing::warn!(topic, %error, "could not post a dead letter, the message is kept");
        *trouble.lock() = Some(format!(
            "could not post a dead letter to `{topic}`: {error}"
        ));
        tokio::time::sleep(backoff.delay()).await;
    }
    *trouble.lock() = None;
}

fn lose(topic: &str, why: &str) {
    tracing::error!(
        topic,
        why,
        "lost a dead letter, for which there is no topic"
    );
}

/// Why brokers do not have a topic, nor get it soon.
async fn never_there(kafka: &Kafka, topic: &str) -> Option<String> {
    let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
    let mut why = kafka.lacks(topic).await?;
    for _ in 1..TRIES {
        tokio::time::sleep(backoff.delay()).await;
        why = kafka.lacks(topic).await?;
    }
    Some(why)
}

async fn send(
    kafka: &Kafka,
    topic: &str,
    original: &OwnedMessage,
    letter: &DeadLetter,
    carried: Carried,
) -> Result<(), Unpublished> {
    let body = original.payload().filter(|_| carried.has_body());
    let out = Outbound {
        topic,
        key: original.key().filter(|_| carried.has_headers()),
        partition: None,
        body: body.unwrap_or_default(),
        headers: headers(original, letter, carried),
    };
    kafka.try_publish(out).await
}

/// The headers of a letter: those that it carries of the message, and what that failed of.
fn headers(original: &OwnedMessage, letter: &DeadLetter, carried: Carried) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new();
    let theirs = original.headers().filter(|_| carried.has_headers());
    for header in theirs.into_iter().flat_map(|theirs| theirs.iter()) {
        headers = headers.insert(header);
    }
    for (name, value) in letter.headers() {
        headers = message::put(headers, name, &value);
    }
    if carried.has_body() {
        return headers;
    }
    let size = original.payload().unwrap_or_default().len();
    message::put(headers, DeadLetter::SIZE, &size.to_string())
}
