//! What the functions pass, as it stands on the wire.

use lattice_core::values::queue as plain;

use super::{Delivery, Depth, Message, Outcome, QueueError};
use crate::wire::{record, variant};

record!(Message as plain::Message {
    body,
    content_type,
    attributes,
    dedup_id,
    group
});

record!(Delivery as plain::Delivery {
    receipt,
    id,
    message,
    attempt,
    enqueued_at_ms,
    lease_ms
});

record!(Depth as plain::Depth {
    ready,
    leased,
    delayed,
    dead
});

variant!(QueueError as plain::Error {
    0 NoSuchQueue,
    1 TooLarge(most),
    2 ReceiptExpired,
    3 AccessDenied,
    4 Full(why),
    5 Invalid(why),
    6 Unavailable(why),
    7 Unsupported(why),
    8 Other(why),
});

variant!(Outcome as plain::Outcome {
    0 Ack,
    1 Retry(delay),
    2 Reject(why),
});

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wire::tests::same;

    #[test]
    fn what_is_handed_over_is_the_same_as_on_the_wire() {
        let text = || "t".to_owned();
        same::<Delivery>(plain::Delivery {
            receipt: "r".to_owned(),
            id: "i".to_owned(),
            message: plain::Message {
                body: Bytes::from_static(&[0, 255]),
                content_type: Some("c".to_owned()),
                attributes: vec![("k".to_owned(), "v".to_owned())],
                dedup_id: Some("d".to_owned()),
                group: None,
            },
            attempt: 1,
            enqueued_at_ms: 2,
            lease_ms: 3,
        });
        same::<Depth>(plain::Depth {
            ready: 1,
            leased: Some(2),
            delayed: None,
            dead: Some(4),
        });
        let outcomes = [
            plain::Outcome::Ack,
            plain::Outcome::Retry(Some(1)),
            plain::Outcome::Reject(text()),
        ];
        outcomes.into_iter().for_each(same::<Outcome>);
        let errors = [
            plain::Error::NoSuchQueue,
            plain::Error::TooLarge(1),
            plain::Error::ReceiptExpired,
            plain::Error::AccessDenied,
            plain::Error::Full(text()),
            plain::Error::Invalid(text()),
            plain::Error::Unavailable(text()),
            plain::Error::Unsupported(text()),
            plain::Error::Other(text()),
        ];
        errors.into_iter().for_each(same::<QueueError>);
    }
}
