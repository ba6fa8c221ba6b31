//! `wasmcloud:messaging@0.2.0`: what guests send to a broker, and the message they receive.
//!
//! Two packages whose messages are resources travel in a form of our own; see [`handles`].

mod forms;
mod handles;
mod message;
mod own;
mod road;

use bytes::{Bytes, BytesMut};
use lattice_codec::{DecodeError, Reader};
use lattice_core::values::Plain;
use lattice_core::values::messaging as plain;
use wasmtime::component::{ComponentType, Lift, Linker, Lower};

use super::{Remote, forward_plain};
use crate::HostEnv;
use crate::codec::Plan;
use crate::store::Ctx;
use crate::wire::Wire;
pub(crate) use forms::Forms;
pub(crate) use message::Message;
pub(crate) use own::{Error as HandlerError, OFFERED, OWN_HANDLER, OwnMessage};

const CONSUMER: &str = "wasmcloud:messaging/consumer@0.2.0";

/// `broker-message`.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub(crate) struct BrokerMessage {
    pub(crate) subject: String,
    pub(crate) body: Bytes,
    #[component(name = "reply-to")]
    pub(crate) reply_to: Option<String>,
}

impl Wire for BrokerMessage {
    fn plan() -> Option<Plan> {
        Some(Plan::Record(Box::new([
            ("subject".to_owned(), Plan::String),
            ("body".to_owned(), Plan::Bytes),
            ("reply-to".to_owned(), Plan::Option(Box::new(Plan::String))),
        ])))
    }

    fn encode(&self, out: &mut BytesMut) {
        self.subject.encode(out);
        self.body.encode(out);
        self.reply_to.encode(out);
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            subject: r.string()?,
            body: r.bytes()?,
            reply_to: r.option(Reader::string)?,
        })
    }
}

impl Plain for BrokerMessage {
    type Plain = plain::BrokerMessage;

    fn into_plain(self) -> plain::BrokerMessage {
        plain::BrokerMessage {
            subject: self.subject,
            body: self.body,
            reply_to: self.reply_to,
        }
    }

    fn from_plain(message: plain::BrokerMessage) -> Self {
        Self {
            subject: message.subject,
            body: message.body,
            reply_to: message.reply_to,
        }
    }
}

impl From<BrokerMessage> for OwnMessage {
    fn from(message: BrokerMessage) -> Self {
        Self {
            subject: message.subject,
            reply_to: message.reply_to,
            content_type: None,
            metadata: Vec::new(),
            body: message.body,
        }
    }
}

const fn consumer(function: &'static str) -> Remote {
    Remote {
        lookup: road::CONSUMER_LOOKUP,
        instances: &[CONSUMER],
        function,
    }
}

/// Whether a component has a link for an interface, or one that stands for it.
pub(super) fn has_link(env: &dyn HostEnv, name: &str, lookup: &str) -> bool {
    env.has_link(name, lookup)
        || handles::is_linked_as_consumer(lookup) && env.has_link(name, road::CONSUMER_LOOKUP)
}

pub(super) fn link(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    let mut instance = linker.instance(CONSUMER)?;
    forward_plain::<(BrokerMessage,), _, (), String>(
        &mut instance,
        "publish",
        consumer("publish"),
        |_, message| Ok(message),
    )?;
    forward_plain::<(String, Bytes, u32), _, BrokerMessage, String>(
        &mut instance,
        "request",
        consumer("request"),
        |_, request| Ok(request),
    )?;
    handles::link(linker)
}
