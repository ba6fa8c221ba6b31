//! `lattice:messaging@0.1.0`: the form in which messages that are resources travel.

use std::fmt;

use bytes::BytesMut;
use lattice_codec::{DecodeError, Reader, write};
use lattice_core::values::Plain;
use lattice_core::values::messaging as plain;
pub(crate) use lattice_core::values::messaging::Message as OwnMessage;
use wasmtime::component::{ComponentType, Lift, Lower};

use crate::codec::{Names, Plan};
use crate::wire::Wire;

/// The interface that providers serve.
pub(super) const PRODUCER: &str = "lattice:messaging/producer@0.1.0";
/// The interface that components serve.
pub(crate) const OWN_HANDLER: &str = "lattice:messaging/handler@0.1.0";

/// A function beside each of them that is in no package: it is called to find out whether the interface
/// is served, which the lack of an answer alone does not tell where somebody listens to all calls, or
/// where whoever answers is late.
pub(crate) const OFFERED: &str = "offered";

impl Wire for OwnMessage {
    fn plan() -> Option<Plan> {
        let text = || Plan::Option(Box::new(Plan::String));
        let pair = Plan::Tuple(Box::new([Plan::String, Plan::String]));
        Some(Plan::Record(Box::new([
            ("subject".to_owned(), Plan::String),
            ("reply-to".to_owned(), text()),
            ("content-type".to_owned(), text()),
            ("metadata".to_owned(), Plan::list(pair)),
            ("body".to_owned(), Plan::Bytes),
        ])))
    }

    fn encode(&self, out: &mut BytesMut) {
        self.subject.encode(out);
        self.reply_to.encode(out);
        self.content_type.encode(out);
        self.metadata.encode(out);
        self.body.encode(out);
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            subject: Wire::decode(r)?,
            reply_to: Wire::decode(r)?,
            content_type: Wire::decode(r)?,
            metadata: Wire::decode(r)?,
            body: Wire::decode(r)?,
        })
    }
}

/// `error`, the same in all packages that have it.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(variant)]
pub(crate) enum Error {
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "connection")]
    Connection(String),
    #[component(name = "permission-denied")]
    PermissionDenied(String),
    #[component(name = "other")]
    Other(String),
}

impl Plain for Error {
    type Plain = plain::Error;

    fn into_plain(self) -> plain::Error {
        match self {
            Self::Timeout => plain::Error::Timeout,
            Self::Connection(text) => plain::Error::Connection(text),
            Self::PermissionDenied(text) => plain::Error::PermissionDenied(text),
            Self::Other(text) => plain::Error::Other(text),
        }
    }

    fn from_plain(error: plain::Error) -> Self {
        match error {
            plain::Error::Timeout => Self::Timeout,
            plain::Error::Connection(text) => Self::Connection(text),
            plain::Error::PermissionDenied(text) => Self::PermissionDenied(text),
            plain::Error::Other(text) => Self::Other(text),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("timeout"),
            Self::Connection(text) => write!(f, "connection: {text}"),
            Self::PermissionDenied(text) => write!(f, "permission denied: {text}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl Wire for Error {
    fn plan() -> Option<Plan> {
        Some(Plan::Variant {
            names: Names::new(["timeout", "connection", "permission-denied", "other"]),
            cases: Box::new([
                None,
                Some(Plan::String),
                Some(Plan::String),
                Some(Plan::String),
            ]),
        })
    }

    fn encode(&self, out: &mut BytesMut) {
        let (case, text) = match self {
            Self::Timeout => (0, None),
            Self::Connection(text) => (1, Some(text)),
            Self::PermissionDenied(text) => (2, Some(text)),
            Self::Other(text) => (3, Some(text)),
        };
        write::uleb(out, case);
        if let Some(text) = text {
            write::string(out, text);
        }
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match r.case("messaging error", 4)? {
            0 => Self::Timeout,
            1 => Self::Connection(r.string()?),
            2 => Self::PermissionDenied(r.string()?),
            _ => Self::Other(r.string()?),
        })
    }
}
