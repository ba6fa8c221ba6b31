//! Messages as bytes, and calls of the handlers that components export.

use bytes::{Bytes, BytesMut};
use lattice_codec::{DecodeError, Reader};
use lattice_core::values::messaging as plain;

use super::{BrokerMessage, Error, Message};
use crate::wire::{Wire, record, variant};

record!(BrokerMessage as plain::BrokerMessage {
    subject,
    body,
    reply_to
});

record!(Message as plain::Message {
    subject,
    reply_to,
    content_type,
    metadata,
    body,
});

variant!(Error as plain::Error {
    0 Timeout,
    1 Connection(text),
    2 PermissionDenied(text),
    3 Other(text),
});

/// The interface that components export, with what a message has besides subject and body.
pub(super) const OWN_HANDLER: &str = "lattice:messaging/handler@0.1.0";
/// Its function.
pub(super) const HANDLE: &str = "handle";
/// What hosts answer beside it where they serve it, and providers beside their own interface, so that
/// whoever waits for an answer in vain can tell a peer of 1.x from one that is late.
pub(super) const OFFERED: &str = "offered";
/// The interface of 1.x that components export.
pub(super) const HANDLER: &str = "wasmcloud:messaging/handler@0.2.0";
/// Its function.
pub(super) const HANDLE_MESSAGE: &str = "handle-message";

/// The parameters of [`HANDLE`].
pub(super) fn own_parameters(message: &Message) -> Bytes {
    let room = message.subject.len() + message.size() + 64;
    let mut out = BytesMut::with_capacity(room);
    message.encode(&mut out);
    out.freeze()
}

/// The parameters of [`HANDLE_MESSAGE`].
pub(super) fn parameters(message: &Message) -> Bytes {
    let mut out = BytesMut::with_capacity(message.subject.len() + message.body.len() + 64);
    message.subject.encode(&mut out);
    message.body.encode(&mut out);
    message.reply_to.encode(&mut out);
    out.freeze()
}

/// What [`HANDLE`] says, in words.
pub(super) fn own_results(bytes: Bytes) -> Result<Result<(), String>, DecodeError> {
    let said: Result<(), Error> = read(bytes)?;
    Ok(said.map_err(|error| match error {
        Error::Timeout => "timeout".to_owned(),
        Error::Connection(text) => format!("connection: {text}"),
        Error::PermissionDenied(text) => format!("permission denied: {text}"),
        Error::Other(text) => text,
    }))
}

/// What [`HANDLE_MESSAGE`] says.
pub(super) fn results(bytes: Bytes) -> Result<Result<(), String>, DecodeError> {
    read(bytes)
}

fn read<T: Wire>(bytes: Bytes) -> Result<T, DecodeError> {
    let mut reader = Reader::new(bytes);
    let said = T::decode(&mut reader)?;
    reader.finish()?;
    Ok(said)
}

#[cfg(test)]
mod tests {
    use lattice_core::values::Plain as _;

    use super::*;
    use crate::wire::tests::same;

    fn message() -> Message {
        Message {
            subject: "a.b".into(),
            reply_to: Some("r".into()),
            content_type: Some("t".into()),
            metadata: vec![("k".into(), "v".into())],
            body: Bytes::from_static(&[7, 8]),
        }
    }

    #[test]
    fn a_message_is_its_fields_in_order() {
        let expected = [3, b'a', b'.', b'b', 2, 7, 8, 1, 1, b'r'];
        assert_eq!(&parameters(&message())[..], expected);
        let quiet = Message {
            reply_to: None,
            ..message()
        };
        assert_eq!(&parameters(&quiet)[..], [&expected[..7], &[0]].concat());
        let own = [
            &[3, b'a', b'.', b'b', 1, 1, b'r', 1, 1, b't'][..],
            &[1, 1, b'k', 1, b'v', 2, 7, 8],
        ];
        assert_eq!(&own_parameters(&message())[..], own.concat());
    }

    #[test]
    fn what_is_handed_over_is_the_same_as_on_the_wire() {
        let text = || "t".to_owned();
        same::<Message>(message().into_plain());
        same::<BrokerMessage>(plain::BrokerMessage {
            subject: "a.b".to_owned(),
            body: Bytes::from_static(&[7, 8]),
            reply_to: Some("r".to_owned()),
        });
        let errors = [
            plain::Error::Timeout,
            plain::Error::Connection(text()),
            plain::Error::PermissionDenied(text()),
            plain::Error::Other(text()),
        ];
        errors.into_iter().for_each(same::<Error>);
    }

    #[test]
    fn what_the_handler_says_is_read() {
        assert_eq!(results(Bytes::from_static(&[0])).unwrap(), Ok(()));
        let refused = results(Bytes::from_static(&[1, 2, b'n', b'o'])).unwrap();
        assert_eq!(refused, Err("no".to_owned()));
        assert!(results(Bytes::from_static(&[2])).is_err());
        assert!(results(Bytes::from_static(&[0, 0])).is_err());
        assert!(results(Bytes::new()).is_err());
        let own = |bytes: &'static [u8]| own_results(Bytes::from_static(bytes));
        assert_eq!(own(&[0]).unwrap(), Ok(()));
        assert_eq!(own(&[1, 0]).unwrap(), Err("timeout".to_owned()));
        assert_eq!(own(&[1, 3, 2, b'n', b'o']).unwrap(), Err("no".to_owned()));
        assert!(own(&[1, 4]).is_err());
    }
}
