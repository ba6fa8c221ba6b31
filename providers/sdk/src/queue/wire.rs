//! What the functions pass, as it stands on the wire.

use super::{Delivery, Depth, Message, Outcome, QueueError};
use crate::wire::{record, variant};

record!(Message {
    body,
    content_type,
    attributes,
    dedup_id,
    group
});

record!(Delivery {
    receipt,
    id,
    message,
    attempt,
    enqueued_at_ms,
    lease_ms
});

record!(Depth {
    ready,
    leased,
    delayed,
    dead
});

variant!(QueueError {
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

variant!(Outcome {
    0 Ack,
    1 Retry(delay),
    2 Reject(why),
});
