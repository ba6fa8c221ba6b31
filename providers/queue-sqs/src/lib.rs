//! Queues for components: the provider that keeps them in SQS.
//!
//! A link with this provider as target of `lattice:queue` lets its component send and receive; one
//! with it as source has the component's handler called. See [`settings`] for what links say.
//!
//! # Queues
//!
//! A queue of the component is one of SQS, whose name has at most 80 letters, digits, `-` and `_`.
//! Those of a link that says `fifo` end with `.fifo` at SQS, which the component need not say. Only
//! they know groups and dedup ids, and they know no delays; the others know delays alone. What a
//! queue does not know is refused as `unsupported`. Messages of FIFO queues are asked for one by one,
//! since SQS would give several of one group at once.
//!
//! # Messages
//!
//! A body that is text is stored as it is, any other one in base64. Attributes are those of SQS as
//! far as it takes them: it takes ten, without empty values. The others are kept together in one of
//! their own. So other programs read and write what is simple.
//!
//! # Leases
//!
//! A lease is the visibility timeout of SQS, in whole seconds: a shorter one, or a part of a second,
//! is made longer. It may last twelve hours in all. Any copy of the provider acknowledges a message and
//! gives it back. Calls that extend a lease or reject a message are passed on to the copy that gave it,
//! which remembers it for that case. When that one has ended or does not answer the others extend in its
//! place; they cannot reject, since SQS cannot be asked for the message, which comes again. Nor can a copy
//! reject what it gave when it has given 128 MiB since, which is as much as it remembers for a link. One
//! receive takes 16 MiB, and one request more at the most.
//!
//! A message whose handler nobody could be called for is given back after six hours, half of the twelve, and when
//! the link ends. SQS counts it as one more receive. The copy of the provider that gave it back leaves those out of
//! the attempts, as long as it runs and the link stays as it is; another copy, and one that was started again,
//! count them. So where several copies receive from a queue, or a copy is started again meanwhile, a message of a
//! component that is away for longer than `max_attempts` times six hours may become a dead letter that no handler
//! has seen; `max_attempts` of 0 keeps it.
//!
//! # Dead letters
//!
//! The provider itself sends them to their queue before it deletes the message, so that the reason is
//! with them; a redrive policy of SQS may be there besides. A crash between the two leaves the
//! message in both queues. A message of the dead-letter queue itself cannot be rejected. A dead letter
//! is longer than its message, so the largest message is 4 KiB smaller than what a queue takes: the
//! `max_message_bytes` of the link, and 256 KiB at least. What another program has sent may be larger. A
//! dead letter that its queue does not take goes without its body, whose size is in `dead-letter-size`, or
//! without the attributes of its message where these are larger, and at last without both.
//!
//! # When SQS is away
//!
//! Calls fail with `unavailable`. What may be done twice is tried up to `max_attempts` times; sending
//! to a queue that is not `fifo` is tried again only when SQS surely has not heard of it.

mod backend;
mod client;
mod dead;
mod error;
mod provider;
mod queues;
pub mod settings;
mod stored_message;
#[cfg(test)]
mod tests;

pub use provider::QueueSqs;
