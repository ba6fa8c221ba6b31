//! Messages of MQTT as components have them, and back.

use bytes::Bytes;
use lattice_provider_sdk::messaging::{Arriving, BrokerMessage};
use lattice_rpc::TraceContext;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// What the component gets.
pub(crate) fn arriving(publish: &Publish) -> Arriving {
    let properties = publish.properties.as_ref();
    Arriving {
        message: BrokerMessage {
            subject: String::from_utf8_lossy(&publish.topic).into_owned(),
            body: publish.payload.clone(),
            reply_to: properties.and_then(reply_to),
        },
        trace: properties.and_then(trace),
    }
}

fn trace(properties: &PublishProperties) -> Option<TraceContext> {
    let text = |name: &str| {
        let mut all = properties.user_properties.iter();
        all.find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    };
    Some(TraceContext {
        traceparent: text(TRACEPARENT)?,
        tracestate: text(TRACESTATE),
    })
}

/// The user properties of a message that a component publishes.
pub(crate) fn properties(trace: Option<&TraceContext>) -> PublishProperties {
    let mut properties = PublishProperties::default();
    if let Some(trace) = trace {
        let mut put = |name: &str, value: &str| {
            let pair = (name.to_owned(), value.to_owned());
            properties.user_properties.push(pair);
        };
        put(TRACEPARENT, &trace.traceparent);
        if let Some(state) = &trace.tracestate {
            put(TRACESTATE, state);
        }
    }
    properties
}

/// Where an answer goes, with the correlation data it has to carry.
fn reply_to(properties: &PublishProperties) -> Option<String> {
    let topic = properties.response_topic.as_ref()?;
    Some(match &properties.correlation_data {
        Some(data) => format!("{topic}#{}", hex(data)),
        None => topic.clone(),
    })
}

/// The topic of a subject that a component publishes to, and the correlation data in it.
pub(crate) fn destination(subject: &str) -> Option<(&str, Option<Bytes>)> {
    match subject.split_once('#') {
        Some((topic, data)) => Some((topic, Some(unhex(data)?))),
        None => Some((subject, None)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Bytes> {
    let digits = text.as_bytes();
    let pairs = digits.chunks(2).map(|pair| {
        let [high, low] = pair else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
    });
    pairs.collect::<Option<Vec<u8>>>().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_correlation_data_may_follow_a_topic() {
        assert_eq!(destination("a/b"), Some(("a/b", None)));
        assert_eq!(destination("a/b#"), Some(("a/b", Some(Bytes::new()))));
        assert_eq!(destination("a/#/b"), None);
        assert_eq!(destination("a#abc"), None);
    }

    proptest! {
        #[test]
        fn an_answer_carries_the_correlation_data_of_its_request(data: Vec<u8>) {
            let properties = PublishProperties {
                response_topic: Some("answers/1".into()),
                correlation_data: Some(data.clone().into()),
                ..PublishProperties::default()
            };
            let subject = reply_to(&properties).unwrap();
            prop_assert_eq!(destination(&subject), Some(("answers/1", Some(data.into()))));
        }
    }
}
