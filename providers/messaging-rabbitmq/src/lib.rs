//! Messages for components: the provider that speaks AMQP 0-9-1 to RabbitMQ.
//!
//! A link with this provider as target of `wasmcloud:messaging` (or `wasi:messaging`, or
//! `lattice:messaging`) lets a component publish and ask; a
//! link with it as source brings messages to the component's handler. Both say which server and
//! which topic exchange; see [`settings`].
//!
//! # Subjects
//!
//! What components call a subject is the routing key of a topic exchange: words joined by dots, of
//! 255 bytes at most. The binding keys of a link may have the wildcards `*`, for one word, and `#`,
//! for any number of them.
//!
//! # Delivery
//!
//! Messages are persistent. `publish` returns when the server has confirmed the message, which it
//! does as soon as it is in all queues that want it, even if there are none; a link may ask for an
//! error in that case. A link with this provider as source has a durable queue, bound to the exchange, which keeps
//! messages while the provider is away; copies of the provider share it, and so do links that name
//! the same group. A message is acknowledged after the handler has returned. One that failed is tried
//! again in place, and after its last attempt goes to the queue of the same name with `.dead` behind
//! it, or where `dead_letter` says, with what it failed of as headers, before it is acknowledged. The
//! queue of a link that is deleted stays, with what is in it.
//!
//! # Metadata
//!
//! The content type of a message is that of AMQP, and its metadata are headers, which AMQP has in the
//! order of their names; several values of one name are a list. Headers that are no texts are not
//! metadata. Names that begin with `x-`, and `CC` and `BCC`, by which the server sends copies to other
//! queues, are refused, and components do not see those that arrive.
//!
//! # Requests
//!
//! A request asks for its answer by RabbitMQ's direct reply-to, with a correlation id; the server
//! says at once when no queue takes it. A message that asks for an answer in this way has a
//! `reply-to` like `reply:ID:QUEUE`, and what is published to that goes to the queue itself, with the
//! correlation id. Another `reply-to` is a subject, and travels as a header.

mod broker;
mod consumer;
mod line;
mod message;
mod provider;
mod rabbit;
pub mod settings;

pub use provider::MessagingRabbitMq;
