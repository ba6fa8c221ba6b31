//! A message as SQS keeps it.
//!
//! The body is text: as it is, or in base64 when it is none, which [`ENCODING`] tells. SQS takes no empty
//! bodies: [`NOTHING`] stands for one, which is told in the same way. The content
//! type is [`CONTENT_TYPE`]. Attributes are those of SQS, as long as there is room and it takes their
//! values; all others are one JSON object in [`MORE`]. In FIFO queues the group and the dedup id are
//! those of SQS, which wants both of every message: those that a message does not have, or that SQS
//! would not take, begin with `~`, and true ones are kept in [`GROUP`] and [`DEDUP`] then: as they are,
//! or `~` and their base64 where they are empty, no text, or begin with `~` themselves.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use lattice_provider_sdk::queue::{Message, QueueError};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// How many messages one request sends or receives.
pub(crate) const BATCH: usize = 10;

const ENCODING: &str = "Lattice-Encoding";
const BASE64: &str = "base64";
const EMPTY: &str = "empty";
/// The body of a message that has none.
const NOTHING: &str = "-";
const CONTENT_TYPE: &str = "Content-Type";
const MORE: &str = "Lattice-Attributes";
const GROUP: &str = "Lattice-Group";
const DEDUP: &str = "Lattice-Dedup-Id";
/// What our own attributes begin with.
const OWN: &str = "lattice-";
/// How many attributes SQS takes.
const MOST_ATTRIBUTES: usize = 10;
/// How many of them we may need: encoding, content type, more, group, dedup id.
const OWN_ATTRIBUTES: usize = 5;
/// How long a group or a dedup id of SQS may be.
const LONGEST_ID: usize = 128;
/// Stands before ids that are not those of the message.
const MADE: char = '~';

/// A message as SQS takes it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Letter {
    pub(crate) params: Map<String, Value>,
    /// Its bytes as SQS counts them.
    pub(crate) size: usize,
}

/// How many of the first messages one request may have.
pub(crate) fn batch(letters: &[Letter], most: usize) -> usize {
    let mut size = 0;
    let fits = letters.iter().take(BATCH).take_while(|letter| {
        size += letter.size;
        size <= most
    });
    fits.count().max(1)
}

/// What SQS gets for a message, without the name of the queue.
pub(crate) fn write(message: &Message, fifo: bool, most: usize) -> Result<Letter, QueueError> {
    let mut attributes = BTreeMap::new();
    let (body, encoding) = match text_of(&message.body) {
        Some(text) => (text.to_owned(), None),
        None if message.body.is_empty() => (NOTHING.to_owned(), Some(EMPTY)),
        None => (STANDARD.encode(&message.body), Some(BASE64)),
    };
    let is_encoded = encoding == Some(BASE64);
    attributes.extend(encoding.map(|how| (ENCODING.to_owned(), how.to_owned())));
    let kind = message
        .content_type
        .as_ref()
        .filter(|kind| !kind.is_empty());
    attributes.extend(kind.map(|kind| (CONTENT_TYPE.to_owned(), kind.clone())));
    own_attributes(message, &mut attributes);
    let mut params = Map::new();
    if fifo {
        let group = message.group.as_deref();
        let dedup = message.dedup_id.as_deref();
        for (name, own, id) in [
            ("MessageGroupId", GROUP, group),
            ("MessageDeduplicationId", DEDUP, dedup),
        ] {
            let (id, kept) = id_of(id);
            params.insert(name.to_owned(), id.into());
            attributes.extend(kept.map(|kept| (own.to_owned(), kept)));
        }
    } else {
        refuse("groups", message.group.as_ref())?;
        refuse("dedup", message.dedup_id.as_ref())?;
    }
    let of_attribute =
        |(name, value): (&String, &String)| name.len() + value.len() + "String".len();
    let overhead: usize = attributes.iter().map(of_attribute).sum();
    let size = body.len() + overhead;
    if size > most {
        let room = most.saturating_sub(overhead);
        let room = if is_encoded { room / 4 * 3 } else { room };
        return Err(QueueError::TooLarge(room as u64));
    }
    let attributes = attributes.into_iter().map(|(name, value)| {
        let value = json!({"DataType": "String", "StringValue": value});
        (name, value)
    });
    let attributes: Map<_, _> = attributes.collect();
    params.insert("MessageBody".to_owned(), body.into());
    if !attributes.is_empty() {
        params.insert("MessageAttributes".to_owned(), attributes.into());
    }
    Ok(Letter { params, size })
}

fn refuse(feature: &str, id: Option<&String>) -> Result<(), QueueError> {
    match id {
        None => Ok(()),
        Some(_) => Err(QueueError::unsupported(format!(
            "{feature} in queues of a link that does not say `fifo`"
        ))),
    }
}

fn own_attributes(message: &Message, attributes: &mut BTreeMap<String, String>) {
    let mut more = Map::new();
    let mut room = MOST_ATTRIBUTES - OWN_ATTRIBUTES;
    for (name, value) in &message.attributes {
        if room > 0 && is_plain_name(name) && !value.is_empty() && is_text(value) {
            attributes.insert(name.clone(), value.clone());
            room -= 1;
        } else {
            more.insert(name.clone(), value.clone().into());
        }
    }
    if !more.is_empty() {
        // JSON writes what SQS does not take in digits, but for two characters.
        let text = Value::from(more).to_string();
        let text = text
            .replace('\u{fffe}', "\\ufffe")
            .replace('\u{ffff}', "\\uffff");
        attributes.insert(MORE.to_owned(), text);
    }
}

/// Whether SQS takes the name of an attribute, and it means nothing else.
fn is_plain_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let reserved = ["aws.", "amazon.", OWN, "."];
    !reserved.iter().any(|start| lower.starts_with(start))
        && lower != "content-type"
        && !name.ends_with('.')
        && !name.contains("..")
}

/// What SQS takes as text.
fn is_text(text: &str) -> bool {
    let allowed = |char: char| match char {
        '\t' | '\n' | '\r' => true,
        char => char >= ' ' && !matches!(char, '\u{fffe}' | '\u{ffff}'),
    };
    text.chars().all(allowed)
}

fn text_of(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    // SQS takes no empty bodies.
    (!text.is_empty() && is_text(text)).then_some(text)
}

/// The id for SQS, and the true one when that is another.
fn id_of(id: Option<&str>) -> (String, Option<String>) {
    let Some(id) = id else {
        return (format!("{MADE}{}", Uuid::new_v4().simple()), None);
    };
    let is_plain = |byte: u8| byte.is_ascii_graphic();
    let fits = (1..=LONGEST_ID).contains(&id.len());
    if fits && id.bytes().all(is_plain) && !id.starts_with(MADE) {
        return (id.to_owned(), None);
    }
    // Equal ones stay equal.
    let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(id));
    // What begins with the mark would be read as base64, and SQS takes no empty values.
    let as_it_is = is_text(id) && !id.is_empty() && !id.starts_with(MADE);
    let kept = match as_it_is {
        true => id.to_owned(),
        false => format!("{MADE}{}", STANDARD.encode(id)),
    };
    (format!("{MADE}{hash}"), Some(kept))
}

/// The message in what SQS gives.
pub(crate) fn read(given: &Value) -> Message {
    let attributes = given["MessageAttributes"].as_object();
    let mut attributes: BTreeMap<String, String> = attributes
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), value_of(value)?)))
        .collect();
    let body = given["Body"].as_str().unwrap_or_default();
    let decoded = match attributes.remove(ENCODING).as_deref() {
        None => None,
        Some(EMPTY) => Some(Vec::new()),
        Some(_) => STANDARD.decode(body).ok(),
    };
    let body = decoded.unwrap_or_else(|| body.as_bytes().to_vec());
    let content_type = attributes.remove(CONTENT_TYPE);
    let system = &given["Attributes"];
    let group = id_from(&system["MessageGroupId"], attributes.remove(GROUP));
    let dedup_id = id_from(&system["MessageDeduplicationId"], attributes.remove(DEDUP));
    let more = attributes.remove(MORE);
    let more = more.and_then(|text| serde_json::from_str::<BTreeMap<String, String>>(&text).ok());
    attributes.extend(more.unwrap_or_default());
    Message {
        body: body.into(),
        content_type,
        attributes: attributes.into_iter().collect(),
        dedup_id,
        group,
    }
}

/// The value of an attribute; other programs may send bytes.
fn value_of(value: &Value) -> Option<String> {
    let text = value["StringValue"].as_str();
    text.or(value["BinaryValue"].as_str()).map(str::to_owned)
}

fn id_from(of_sqs: &Value, kept: Option<String>) -> Option<String> {
    let Some(kept) = kept else {
        let id = of_sqs.as_str()?;
        return (!id.starts_with(MADE)).then(|| id.to_owned());
    };
    let encoded = kept.strip_prefix(MADE);
    let decoded = encoded.and_then(|text| String::from_utf8(STANDARD.decode(text).ok()?).ok());
    Some(decoded.unwrap_or(kept))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 1 << 20;

    fn message(body: &[u8], attributes: &[(&str, &str)]) -> Message {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Message {
            body: body.to_vec().into(),
            content_type: None,
            attributes: attributes.iter().map(owned).collect(),
            dedup_id: None,
            group: None,
        }
    }

    /// What SQS would give for what it got.
    fn given(letter: &Letter) -> Value {
        let params = &letter.params;
        let mut system = Map::new();
        for name in ["MessageGroupId", "MessageDeduplicationId"] {
            if let Some(value) = params.get(name) {
                system.insert(name.to_owned(), value.clone());
            }
        }
        json!({
            "Body": params["MessageBody"],
            "MessageAttributes": params.get("MessageAttributes"),
            "Attributes": system,
        })
    }

    #[test]
    fn what_is_simple_is_stored_as_it_is() {
        let letter = write(&message(b"hello", &[("colour", "red")]), false, MOST).unwrap();
        assert_eq!(letter.params["MessageBody"], "hello");
        let attribute = &letter.params["MessageAttributes"]["colour"];
        assert_eq!(attribute["StringValue"], "red");
        assert_eq!(letter.size, 5 + 6 + 3 + 6);
    }

    #[test]
    fn an_empty_body_is_written_as_one_that_sqs_takes() {
        let letter = write(&message(b"", &[]), false, MOST).unwrap();
        assert_eq!(letter.params["MessageBody"], NOTHING);
        assert_eq!(read(&given(&letter)), message(b"", &[]));
        // As it was written before, where a service takes that.
        let encoding = json!({"DataType": "String", "StringValue": BASE64});
        let old = json!({"Body": "", "MessageAttributes": {ENCODING: encoding}});
        assert_eq!(read(&old), message(b"", &[]));
    }

    #[test]
    fn what_is_too_large_is_told_how_much_would_fit() {
        let error = write(&message(&[b'a'; 11], &[]), false, 10).unwrap_err();
        assert_eq!(error, QueueError::TooLarge(10));
        let error = write(&message(&[0; 2000], &[]), false, 2048).unwrap_err();
        let QueueError::TooLarge(room) = error else {
            panic!("{error:?}");
        };
        let fits = usize::try_from(room).unwrap();
        assert!(write(&message(&vec![0; fits], &[]), false, 2048).is_ok());
    }

    #[test]
    fn groups_and_ids_are_refused_where_sqs_knows_none() {
        let grouped = Message {
            group: Some("g".to_owned()),
            ..message(b"x", &[])
        };
        let error = write(&grouped, false, MOST).unwrap_err();
        assert!(matches!(&error, QueueError::Unsupported(why) if why.starts_with("groups")));
        let named = Message {
            dedup_id: Some("d".to_owned()),
            ..message(b"x", &[])
        };
        let error = write(&named, false, MOST).unwrap_err();
        assert!(matches!(&error, QueueError::Unsupported(why) if why.starts_with("dedup")));
        let letter = write(&grouped, true, MOST).unwrap();
        assert_eq!(letter.params["MessageGroupId"], "g");
        let made = letter.params["MessageDeduplicationId"].as_str().unwrap();
        assert!(made.starts_with(MADE));
    }

    #[test]
    fn ids_that_look_made_come_back() {
        for id in ["~", "~~", "~fg==", "~aGVsbG8=", "", "~\u{0}"] {
            let named = Message {
                group: Some(id.to_owned()),
                dedup_id: Some(id.to_owned()),
                ..message(b"x", &[])
            };
            let letter = write(&named, true, MOST).unwrap();
            assert!(letter.params["MessageGroupId"].as_str().unwrap().len() > 1);
            assert_eq!(read(&given(&letter)), named, "{id:?}");
        }
    }

    fn id() -> impl Strategy<Value = Option<String>> {
        proptest::option::of("~{0,2}[ -~\u{0}-\u{10}ü]{0,100}")
    }

    proptest! {
        #[test]
        fn messages_come_back(
            body in proptest::collection::vec(any::<u8>(), 0..50),
            text in ".{0,20}",
            is_text in any::<bool>(),
            kind in proptest::option::of("[a-z/]{1,20}"),
            attributes in proptest::collection::btree_map("[A-Za-z.-]{1,8}", ".*", 0..20),
            group in id(),
            dedup_id in id(),
        ) {
            let mut message = message(&body, &[]);
            if is_text {
                message.body = text.into();
            }
            message.content_type = kind;
            message.attributes = attributes.into_iter().collect();
            message.group = group;
            message.dedup_id = dedup_id;
            let letter = write(&message, true, MOST).unwrap();
            let count = letter.params.get("MessageAttributes").map_or(0, |a| a.as_object().unwrap().len());
            prop_assert!(count <= MOST_ATTRIBUTES);
            prop_assert_eq!(read(&given(&letter)), message);
        }
    }

    #[test]
    fn batches_are_of_ten_and_not_too_large() {
        let letter = |size| Letter {
            params: Map::new(),
            size,
        };
        let small: Vec<_> = (0..25).map(|_| letter(1)).collect();
        assert_eq!(batch(&small, 100), 10);
        assert_eq!(batch(&small[..3], 100), 3);
        let large = [letter(60), letter(40), letter(1)];
        assert_eq!(batch(&large, 100), 2);
        assert_eq!(batch(&large[..1], 10), 1);
    }
}
