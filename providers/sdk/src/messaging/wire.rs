//! Messages as bytes, and calls of `handler.handle-message`.

use bytes::{Bytes, BytesMut};
use lattice_codec::{DecodeError, Reader};

use super::BrokerMessage;
use crate::wire::{Wire as _, record};

record!(BrokerMessage {
    subject,
    body,
    reply_to
});

/// The interface that components export.
pub(super) const HANDLER: &str = "wasmcloud:messaging/handler@0.2.0";
/// Its function.
pub(super) const HANDLE_MESSAGE: &str = "handle-message";

/// The parameters.
pub(super) fn parameters(message: &BrokerMessage) -> Bytes {
    let mut out = BytesMut::with_capacity(message.subject.len() + message.body.len() + 64);
    message.encode(&mut out);
    out.freeze()
}

/// What the handler says.
pub(super) fn results(bytes: Bytes) -> Result<Result<(), String>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let said = match reader.result_is_err()? {
        true => Err(reader.string()?),
        false => Ok(()),
    };
    reader.finish()?;
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_its_three_fields_in_order() {
        let message = BrokerMessage {
            subject: "a.b".into(),
            body: Bytes::from_static(&[7, 8]),
            reply_to: Some("r".into()),
        };
        let expected = [3, b'a', b'.', b'b', 2, 7, 8, 1, 1, b'r'];
        assert_eq!(&parameters(&message)[..], expected);
        let quiet = BrokerMessage {
            reply_to: None,
            ..message
        };
        assert_eq!(&parameters(&quiet)[..], [&expected[..7], &[0]].concat());
    }

    #[test]
    fn what_the_handler_says_is_read() {
        assert_eq!(results(Bytes::from_static(&[0])).unwrap(), Ok(()));
        let refused = results(Bytes::from_static(&[1, 2, b'n', b'o'])).unwrap();
        assert_eq!(refused, Err("no".to_owned()));
        assert!(results(Bytes::from_static(&[2])).is_err());
        assert!(results(Bytes::from_static(&[0, 0])).is_err());
        assert!(results(Bytes::new()).is_err());
    }
}
