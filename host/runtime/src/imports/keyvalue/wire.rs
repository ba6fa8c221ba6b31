//! What the functions of key-value stores pass, for guests and on the wire.

use bytes::{BufMut, BytesMut};
use lattice_codec::{DecodeError, Reader, write};
use lattice_core::keyvalue::{self, KeysPage, Outcome, TextPage, Versioned};
use lattice_core::values::Plain;
use wasmtime::component::{ComponentType, Lift, Lower};

use crate::InvokeError;
use crate::codec::{Names, Plan};
use crate::imports::{FromInvoke, chain};
use crate::wire::Wire;

/// `error` of `store`.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(variant)]
pub(super) enum Error {
    #[component(name = "no-such-store")]
    NoSuchStore,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "other")]
    Other(String),
}

/// `key-response` of `store`.
#[derive(Debug, Clone, ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct KeyResponse {
    pub(super) keys: Vec<String>,
    pub(super) cursor: Option<u64>,
}

/// `key-response` of `store` in the second draft.
#[derive(Debug, Clone, ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct TextResponse {
    pub(super) keys: Vec<String>,
    pub(super) cursor: Option<String>,
}

impl Plain for Error {
    type Plain = keyvalue::Error;

    fn into_plain(self) -> keyvalue::Error {
        match self {
            Self::NoSuchStore => keyvalue::Error::NoSuchStore,
            Self::AccessDenied => keyvalue::Error::AccessDenied,
            Self::Other(text) => keyvalue::Error::Other(text),
        }
    }

    fn from_plain(error: keyvalue::Error) -> Self {
        match error {
            keyvalue::Error::NoSuchStore => Self::NoSuchStore,
            keyvalue::Error::AccessDenied => Self::AccessDenied,
            keyvalue::Error::Other(text) => Self::Other(text),
        }
    }
}

impl Plain for KeyResponse {
    type Plain = KeysPage;

    fn into_plain(self) -> KeysPage {
        KeysPage {
            keys: self.keys,
            cursor: self.cursor,
        }
    }

    fn from_plain(page: KeysPage) -> Self {
        Self {
            keys: page.keys,
            cursor: page.cursor,
        }
    }
}

impl Plain for TextResponse {
    type Plain = TextPage;

    fn into_plain(self) -> TextPage {
        TextPage {
            keys: self.keys,
            cursor: self.cursor,
        }
    }

    fn from_plain(page: TextPage) -> Self {
        Self {
            keys: page.keys,
            cursor: page.cursor,
        }
    }
}

impl FromInvoke for Error {
    fn from_invoke(error: &(dyn std::error::Error + 'static)) -> Self {
        match error.downcast_ref::<InvokeError>() {
            // Which rule it was, the host has told.
            Some(InvokeError::Denied { .. }) => Self::AccessDenied,
            _ => Self::Other(chain(error)),
        }
    }
}

impl Wire for Error {
    fn plan() -> Option<Plan> {
        Some(Plan::Variant {
            names: Names::new(["no-such-store", "access-denied", "other"]),
            cases: Box::new([None, None, Some(Plan::String)]),
        })
    }

    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::NoSuchStore => out.put_u8(0),
            Self::AccessDenied => out.put_u8(1),
            Self::Other(text) => {
                out.put_u8(2);
                write::string(out, text);
            }
        }
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match r.case("keyvalue error", 3)? {
            0 => Self::NoSuchStore,
            1 => Self::AccessDenied,
            _ => Self::Other(r.string()?),
        })
    }
}

impl Wire for KeyResponse {
    fn plan() -> Option<Plan> {
        Some(Plan::Record(Box::new([
            ("keys".to_owned(), Plan::list(Plan::String)),
            ("cursor".to_owned(), Plan::Option(Box::new(Plan::U64))),
        ])))
    }

    fn encode(&self, out: &mut BytesMut) {
        self.keys.encode(out);
        self.cursor.encode(out);
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            keys: Wire::decode(r)?,
            cursor: Wire::decode(r)?,
        })
    }
}

impl Wire for TextResponse {
    fn plan() -> Option<Plan> {
        Some(Plan::Record(Box::new([
            ("keys".to_owned(), Plan::list(Plan::String)),
            ("cursor".to_owned(), Plan::Option(Box::new(Plan::String))),
        ])))
    }

    fn encode(&self, out: &mut BytesMut) {
        self.keys.encode(out);
        self.cursor.encode(out);
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            keys: Wire::decode(r)?,
            cursor: Wire::decode(r)?,
        })
    }
}

fn versioned() -> Plan {
    Plan::Record(Box::new([
        ("value".to_owned(), Plan::Option(Box::new(Plan::Bytes))),
        ("version".to_owned(), Plan::String),
    ]))
}

impl Wire for Versioned {
    fn plan() -> Option<Plan> {
        Some(versioned())
    }

    fn encode(&self, out: &mut BytesMut) {
        self.value.encode(out);
        self.version.encode(out);
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            value: Wire::decode(r)?,
            version: Wire::decode(r)?,
        })
    }
}

impl Wire for Outcome {
    fn plan() -> Option<Plan> {
        Some(Plan::Variant {
            names: Names::new(["swapped", "stale"]),
            cases: Box::new([None, Some(versioned())]),
        })
    }

    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Swapped => out.put_u8(0),
            Self::Stale(now) => {
                out.put_u8(1);
                now.encode(out);
            }
        }
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match r.case("outcome of a swap", 2)? {
            0 => Self::Swapped,
            _ => Self::Stale(Wire::decode(r)?),
        })
    }
}
