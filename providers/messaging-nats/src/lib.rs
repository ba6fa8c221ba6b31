//! Messages for components: the provider that speaks NATS and JetStream.
//!
//! A link with this provider as target of `wasmcloud:messaging` (or `wasi:messaging`, or
//! `lattice:messaging`) lets a component publish and ask; a
//! link with it as source brings messages to the component's handler. Both say which NATS, and the
//! latter which subjects; see [`settings`].
//!
//! # Core NATS
//!
//! What arrives on a subscribed subject is handed to the component once, and is lost when the
//! component fails: NATS does not keep it. One that no host can take at the moment is held for five
//! seconds. A message that is to be answered says so in `reply-to`; the handler publishes its answer
//! there, through a link of its own. Copies of this provider on several hosts share the messages of
//! a link; two links that subscribe to the same subject each get them all, unless they name the same
//! queue group. When the link goes or changes, what has arrived by then is still handed over, as far as
//! that takes three seconds at most. A link that changes subscribes anew before that, and what arrives
//! meanwhile waits for its turn; not so where the link names a stream, or for some subject another
//! queue group than before. What a server has sent when it hears that a subscription ends, and the client
//! reads only later, is lost: at a high rate, what comes in the time to the server and back. A dead letter
//! that the link itself hears, and that fails too, is in the log alone.
//!
//! A link of which the server refuses a subscription, now or later, has failed and says so; its other
//! subscriptions work. Not so where the provider runs inside a host and the link uses the lattice's own NATS:
//! what the server says on the connection of the host is in the log of the host alone.
//!
//! # JetStream
//!
//! With a `stream` (or `consumers`) messages are kept until the handler has returned without an
//! error. One that failed is given back to be delivered again after a pause; after the last attempt
//! it goes to the dead-letter subject with its cause, and is acknowledged only when a stream has it
//! there. Nothing is lost when the provider, the component or NATS is killed; a message whose
//! acknowledgement is lost comes again. With `max_in_flight` 1 a message that failed is tried again
//! before the next one is taken, so that order is kept.
//!
//! A link with `jetstream` true as target publishes to streams: `publish` returns when a stream has
//! the message. Answers to requests, whose subjects are inboxes, go by core NATS nonetheless.
//!
//! # Metadata
//!
//! The content type of a message is the header `content-type`, and its metadata are headers, whose
//! names keep their case and whose order among each other NATS does not keep. What NATS would change
//! is refused by name: names that are not ASCII or have blanks or colons, values of several lines or
//! with blanks at their ends. So are names that begin with `Nats-`, on which servers act; components
//! do not see those that arrive.
//!
//! # Requests
//!
//! A request that nobody listens for fails at once; one that nobody answers, after its timeout.

mod broker;
mod cluster;
mod core;
mod dead_letters;
mod groups;
mod jetstream;
mod message;
mod provider;
mod reach;
pub mod settings;

pub use provider::MessagingNats;
