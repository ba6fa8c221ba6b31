//! What a handler is called with, and what it says.

use bytes::{Bytes, BytesMut};
use lattice_codec::{DecodeError, Reader, write};

use crate::queue::backend::{Delivery, Message, Outcome};

/// The interface, as its subject has it.
pub(crate) const HANDLER: &str = "lattice:queue/handler@0.1.0";
pub(crate) const HANDLE: &str = "handle";

/// What a delivery has besides its message, at most about.
const ROOM: usize = 512;

/// The parameters of `handle`.
pub(crate) fn params(queue: &str, delivery: &Delivery) -> Bytes {
    let mut out = BytesMut::with_capacity(delivery.message.body.len() + ROOM);
    write::string(&mut out, queue);
    write::string(&mut out, &delivery.receipt);
    write::string(&mut out, &delivery.id);
    message(&mut out, &delivery.message);
    write::uleb(&mut out, delivery.attempt.into());
    write::uleb(&mut out, delivery.enqueued_at_ms);
    write::uleb(&mut out, delivery.lease_ms.into());
    out.freeze()
}

fn message(out: &mut BytesMut, message: &Message) {
    let text = |out: &mut BytesMut, text: &Option<String>| {
        write::option(out, text.as_deref(), write::string);
    };
    write::bytes(out, &message.body);
    text(out, &message.content_type);
    // A length always fits.
    write::uleb(out, message.attributes.len() as u64);
    for (name, value) in &message.attributes {
        write::string(out, name);
        write::string(out, value);
    }
    text(out, &message.dedup_id);
    text(out, &message.group);
}

/// The result of `handle`.
pub(crate) fn outcome(result: Bytes) -> Result<Outcome, DecodeError> {
    let mut reader = Reader::new(result);
    let outcome = match reader.case("outcome", 3)? {
        0 => Outcome::Ack,
        1 => Outcome::Retry(reader.option(Reader::u32)?),
        _ => Outcome::Reject(reader.string()?),
    };
    reader.finish()?;
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use tokio_util::codec::Encoder as _;
    use wit_bindgen_wrpc::wrpc_transport::Encode;

    use super::*;

    /// As generated bindings encode it.
    fn generated<T: Encode<wrpc_transport::frame::Outgoing>>(value: T) -> Bytes {
        let mut out = BytesMut::new();
        let mut encoder = T::Encoder::default();
        assert!(encoder.encode(value, &mut out).is_ok());
        out.freeze()
    }

    #[test]
    fn it_is_what_bindings_make() {
        let delivery = Delivery {
            receipt: "r".repeat(200),
            id: "7".into(),
            message: Message {
                body: vec![1; 300].into(),
                content_type: Some("text/plain".into()),
                attributes: vec![("a".into(), "ü".into()), ("b".into(), String::new())],
                dedup_id: None,
                group: Some("g".into()),
            },
            attempt: 300,
            enqueued_at_ms: 1_700_000_000_000,
            lease_ms: 30_000,
        };
        let ours = params("jobs", &delivery);
        assert_eq!(ours, generated(("jobs", &delivery)));
    }

    #[test]
    fn every_outcome_is_read() {
        let outcomes = [
            Outcome::Ack,
            Outcome::Retry(None),
            Outcome::Retry(Some(70_000)),
            Outcome::Reject("why".into()),
        ];
        for expected in outcomes {
            let bytes = generated(&expected);
            assert_eq!(outcome(bytes.clone()), Ok(expected));
            let mut longer = BytesMut::from(&bytes[..]);
            longer.extend_from_slice(&[0]);
            assert!(outcome(longer.freeze()).is_err());
        }
        assert!(outcome(Bytes::from_static(&[3])).is_err());
        assert!(outcome(Bytes::new()).is_err());
    }
}
