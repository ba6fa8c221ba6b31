//! How the gateway writes things: bytes as base64, numbers as text, nothing where there is zero.

use bytes::Bytes;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Serialize};

/// Bytes as base64.
pub(crate) mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        let bytes = STANDARD.decode(text.as_bytes());
        bytes.map(Bytes::from).map_err(D::Error::custom)
    }
}

/// Bytes as base64, left out when there are none.
pub(crate) fn is_empty(bytes: &Bytes) -> bool {
    bytes.is_empty()
}

/// Whether a number is left out.
pub(crate) fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// Numbers of 64 bits, which the gateway writes in quotes.
pub(crate) mod number {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::number_of;

    pub(crate) fn serialize<S: Serializer>(number: &i64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
        number_of(super::Number::deserialize(from)?)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Number {
    Bare(i64),
    Quoted(String),
}

fn number_of<E: serde::de::Error>(number: Number) -> Result<i64, E> {
    match number {
        Number::Bare(number) => Ok(number),
        Number::Quoted(text) => text.parse().map_err(E::custom),
    }
}

/// What stands at the head of every answer.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Header {
    #[serde(default, with = "number")]
    pub(crate) revision: i64,
}

/// A refusal, alone or in a stream of answers.
#[derive(Debug, Deserialize)]
pub(crate) struct Refusal {
    #[serde(default, alias = "grpc_code")]
    pub(crate) code: u32,
    #[serde(default)]
    pub(crate) message: String,
}

/// One of a stream of answers.
#[derive(Debug, Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
pub(crate) struct Streamed<T> {
    pub(crate) result: Option<T>,
    pub(crate) error: Option<Refusal>,
}

/// Writes a request.
pub(crate) fn encode(request: &impl Serialize) -> Result<Bytes, serde_json::Error> {
    serde_json::to_vec(request).map(Bytes::from)
}

/// Reads an answer.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(body)
}

/// Reads one of a stream of answers.
pub(crate) fn decode_streamed<T: DeserializeOwned>(
    line: &[u8],
) -> Result<Result<T, Refusal>, serde_json::Error> {
    let line: Streamed<T> = serde_json::from_slice(line)?;
    match (line.result, line.error) {
        (_, Some(error)) => Ok(Err(error)),
        (Some(result), None) => Ok(Ok(result)),
        (None, None) => Err(serde_json::Error::custom("neither a result nor an error")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Both {
        #[serde(default, with = "base64_text", skip_serializing_if = "is_empty")]
        bytes: Bytes,
        #[serde(default, with = "number", skip_serializing_if = "is_zero")]
        number: i64,
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes: Vec<u8>, number: i64) {
            let both = Both { bytes: bytes.into(), number };
            let text = encode(&both).unwrap();
            prop_assert_eq!(decode::<Both>(&text).unwrap(), both);
        }

        #[test]
        fn any_text_is_read_or_refused(text: Vec<u8>) {
            let _ = decode::<Both>(&text);
            let _ = decode_streamed::<Both>(&text).is_ok();
        }
    }

    #[test]
    fn numbers_come_in_quotes_or_without() {
        assert_eq!(decode::<Both>(br#"{"number":"7"}"#).unwrap().number, 7);
        assert_eq!(decode::<Both>(br#"{"number":7}"#).unwrap().number, 7);
        assert!(decode::<Both>(br#"{"number":"x"}"#).is_err());
        assert!(decode::<Both>(br#"{"bytes":"?"}"#).is_err());
    }
}
