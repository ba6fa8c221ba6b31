//! Queues for components: the provider that keeps them in Azure Queue Storage.
//!
//! A link with this provider as target of `lattice:queue` lets its component send and receive; one
//! with it as source has the component's handler called. See [`settings`] for what links say.
//!
//! # Queues
//!
//! A queue of the component is one of Azure, whose name has 3 to 63 lower-case letters, digits and
//! single hyphens. Azure knows neither groups nor dedup ids: both are refused as `unsupported`.
//! Messages are kept until they are acknowledged.
//!
//! # Messages
//!
//! A message is the base64 of its body. One with attributes or a content type has these in front, as
//! the module `stored_message` says. What other programs send may be base64 or plain text; where that may look
//! like base64 by chance the link says `encoding=text`. With all that a
//! message has at most 60 KiB of text, which are 45 KiB of body: of the 64 KiB that Azure takes, the
//! rest is for what a dead letter tells besides.
//!
//! # Receiving
//!
//! Azure does not wait for messages, so it is asked again, with pauses that grow to a second.
//!
//! # Leases
//!
//! A lease is the visibility timeout of Azure, in whole seconds: a shorter one, or a part of a second,
//! is made longer. It lasts at most seven days. Any copy of the provider acknowledges a message and gives
//! it back whose lease was not extended. All else is passed on to the copy that gave the message, which
//! remembers it and what Azure calls it since its lease was extended. When that one has ended, what was
//! extended or shall be rejected comes again when its lease ends. So does what shall be rejected when that
//! copy has given 128 MiB since, which is as much as it remembers for a link.
//!
//! # Dead letters
//!
//! The provider sends them to their queue before it deletes the message. A crash between the two
//! leaves the message in both queues. A message of the dead-letter queue itself cannot be rejected. What
//! another program has sent may be too large with what a dead letter tells besides: it goes without its
//! body then, whose size is in `dead-letter-size`, or without its attributes where these are larger.
//!
//! # Depth
//!
//! Azure counts messages without telling which are leased or delayed.
//!
//! # When Azure is away
//!
//! Calls fail with `unavailable`. What may be done twice is tried up to `max_attempts_of_requests`
//! times; sending is tried again only when Azure surely has not heard of it.

mod backend;
mod error;
mod leases;
mod provider;
mod queues;
pub mod settings;
mod stored_message;
#[cfg(test)]
mod tests;

pub use provider::QueueAzure;
