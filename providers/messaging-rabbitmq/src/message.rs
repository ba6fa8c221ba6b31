//! Messages of AMQP as components have them, and back.

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lattice_provider_sdk::messaging::{Arriving, BrokerMessage};
use lattice_rpc::TraceContext;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// The subject that an answer should go to, where it is one of the exchange.
const REPLY_TO: &str = "reply-to-subject";
/// How a `reply-to` begins that is a queue.
const TO_QUEUE: &str = "reply:";
/// Messages that survive a restart of the server.
const PERSISTENT: u8 = 2;

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination<'a> {
    /// To whoever is bound to the exchange by this key.
    Subject(&'a str),
    /// Into a queue, as the answer to a request.
    Queue { queue: &'a str, correlation: String },
}

/// Reads a subject that a component publishes to; `None` for a `reply-to` that is none.
pub(crate) fn destination(subject: &str) -> Option<Destination<'_>> {
    let Some(rest) = subject.strip_prefix(TO_QUEUE) else {
        return Some(Destination::Subject(subject));
    };
    let (correlation, queue) = rest.split_once(':')?;
    let correlation = String::from_utf8(unhex(correlation)?).ok()?;
    Some(Destination::Queue { queue, correlation })
}

/// What the component gets.
pub(crate) fn arriving(delivery: &Delivery) -> Arriving {
    let properties = &delivery.properties;
    let trace = text(properties, TRACEPARENT).map(|traceparent| TraceContext {
        traceparent,
        tracestate: text(properties, TRACESTATE),
    });
    Arriving {
        message: BrokerMessage {
            subject: delivery.routing_key.to_string(),
            body: delivery.data.clone().into(),
            reply_to: reply_to(properties),
        },
        trace,
    }
}

fn reply_to(properties: &BasicProperties) -> Option<String> {
    if let Some(subject) = text(properties, REPLY_TO) {
        return Some(subject);
    }
    let queue = properties.reply_to().as_ref()?;
    let correlation = properties.correlation_id().as_ref();
    let correlation = hex(correlation.map_or("", ShortString::as_str).as_bytes());
    Some(format!("{TO_QUEUE}{correlation}:{queue}"))
}

fn text(properties: &BasicProperties, name: &str) -> Option<String> {
    match properties.headers().as_ref()?.inner().get(name)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

/// The properties of a message that a component publishes. `reply_to` has been read before.
pub(crate) fn properties(
    trace: Option<&TraceContext>,
    reply_to: Option<(&str, Destination<'_>)>,
) -> BasicProperties {
    let mut headers = FieldTable::default();
    if let Some(trace) = trace {
        put(&mut headers, TRACEPARENT, &trace.traceparent);
        if let Some(state) = &trace.tracestate {
            put(&mut headers, TRACESTATE, state);
        }
    }
    let mut properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    match reply_to {
        None => {}
        Some((subject, Destination::Subject(_))) => put(&mut headers, REPLY_TO, subject),
        Some((_, Destination::Queue { queue, correlation })) => {
            if let (Ok(queue), Ok(id)) = (short(queue), short(&correlation)) {
                properties = properties.with_reply_to(queue).with_correlation_id(id);
            }
        }
    }
    properties.with_headers(headers)
}

/// The properties of a message with further headers.
pub(crate) fn with_headers(
    properties: &BasicProperties,
    more: Vec<(&'static str, String)>,
) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    for (name, value) in more {
        put(&mut headers, name, &value);
    }
    properties
        .clone()
        .with_headers(headers)
        .with_delivery_mode(PERSISTENT)
}

fn put(headers: &mut FieldTable, name: &'static str, value: &str) {
    headers.insert(name.into(), AMQPValue::LongString(value.into()));
}

/// A short string, unless it is too long for one.
pub(crate) fn short(text: &str) -> Result<ShortString, lapin::types::ShortStringError> {
    ShortString::try_new(text)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(|pair| {
        let [high, low] = pair else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn subjects_are_told_from_queues() {
        assert_eq!(destination("a.b"), Some(Destination::Subject("a.b")));
        assert_eq!(destination("reply:zz:q"), None);
        assert_eq!(destination("reply:6162"), None);
    }

    proptest! {
        #[test]
        fn an_answer_goes_to_the_queue_of_its_request(queue in "[a-z.:-]{1,30}", id in ".{0,40}") {
            let asked = BasicProperties::default()
                .with_reply_to(queue.as_str().into())
                .with_correlation_id(id.as_str().into());
            let subject = reply_to(&asked).unwrap();
            let expected = Destination::Queue { queue: &queue, correlation: id };
            prop_assert_eq!(destination(&subject), Some(expected));
        }

        #[test]
        fn any_reply_to_survives_the_way(subject in "[a-z.]{1,30}") {
            let read = destination(&subject).unwrap();
            let sent = properties(None, Some((&subject, read)));
            prop_assert_eq!(reply_to(&sent), Some(subject.clone()));
        }
    }
}
