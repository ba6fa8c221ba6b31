//! Messages of MQTT as components have them, and back.

use bytes::Bytes;
use lattice_provider_sdk::messaging::{Arriving, Message, MessagingError};
use lattice_rpc::TraceContext;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// The longest text that a packet has, and the longest correlation data.
pub(crate) const LONGEST: usize = u16::MAX as usize;

/// What the component gets.
pub(crate) fn arriving(publish: &Publish) -> Arriving {
    let properties = publish.properties.as_ref();
    Arriving {
        message: Message {
            subject: String::from_utf8_lossy(&publish.topic).into_owned(),
            reply_to: properties.and_then(reply_to),
            content_type: properties.and_then(|properties| properties.content_type.clone()),
            metadata: properties.map(metadata).unwrap_or_default(),
            body: publish.payload.clone(),
        },
        trace: properties.and_then(trace),
    }
}

/// The user properties that are told in no other place.
fn metadata(properties: &PublishProperties) -> Vec<(String, String)> {
    let mut metadata = properties.user_properties.clone();
    metadata.retain(|(name, _)| !is_reserved(name));
    metadata
}

fn is_reserved(name: &str) -> bool {
    [TRACEPARENT, TRACESTATE].contains(&name)
}

/// Refuses what a packet of MQTT has no room for, and texts over which brokers hang up.
pub(crate) fn check(message: &Message) -> Result<(), MessagingError> {
    message.check_metadata(is_reserved)?;
    let content_type = message.content_type.as_deref();
    let content_type = content_type.map(|value| ("content-type", value));
    let pairs = message.metadata.iter();
    let pairs = pairs.map(|(name, value)| (&**name, &**value));
    for (name, value) in pairs.chain(content_type) {
        let why = match (name.len().max(value.len()), is_text(name) && is_text(value)) {
            (LONGEST.., _) => "a text of MQTT has less than 65,535 bytes",
            (_, false) => "a text of MQTT has no control characters, line breaks among them",
            _ => continue,
        };
        let name = name.chars().take(64).collect();
        return Err(MessagingError::Metadata { name, why });
    }
    Ok(())
}

/// Whether there is nothing in a text that MQTT lets brokers hang up over.
pub(crate) fn is_text(text: &str) -> bool {
    let is_odd = |c: char| {
        let code = u32::from(c);
        c.is_control() || code & 0xfffe == 0xfffe || (0xfdd0..=0xfdef).contains(&code)
    };
    !text.contains(is_odd)
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

/// The properties of a message that a component publishes.
pub(crate) fn properties(message: &Message, trace: Option<&TraceContext>) -> PublishProperties {
    let mut properties = PublishProperties {
        content_type: message.content_type.clone(),
        user_properties: message.metadata.clone(),
        ..PublishProperties::default()
    };
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

    #[test]
    fn metadata_and_content_type_survive_the_way() {
        let sent = Message {
            content_type: Some("text/plain".into()),
            metadata: vec![("k".into(), "1".into()), ("k".into(), "ü ".into())],
            ..Message::new("a/b", "x")
        };
        check(&sent).unwrap();
        let trace = TraceContext {
            traceparent: "00-1".to_owned(),
            tracestate: None,
        };
        let properties = properties(&sent, Some(&trace));
        let qos = rumqttc::v5::mqttbytes::QoS::AtMostOnce;
        let came = arriving(&Publish::new("a/b", qos, "x", Some(properties)));
        assert_eq!((came.message, came.trace), (sent, Some(trace)));
    }

    #[test]
    fn what_a_packet_has_no_room_for_is_refused_by_name() {
        let long = Message {
            content_type: Some("t".repeat(LONGEST + 1)),
            ..Message::new("a/b", "x")
        };
        let error = check(&long).unwrap_err().to_string();
        assert!(error.contains("`content-type`"), "{error}");
        for (name, value) in [("traceparent", "x"), ("k", "a\nb"), ("l", "\u{ffff}")] {
            let refused = Message {
                metadata: vec![(name.into(), value.into())],
                ..Message::new("a/b", "x")
            };
            let error = check(&refused).unwrap_err().to_string();
            assert!(error.contains(&format!("`{name}`")), "{error}");
        }
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
