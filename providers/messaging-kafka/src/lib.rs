//! Messages for components: the provider that speaks Kafka's protocol.
//!
//! A link with this provider as target of `wasmcloud:messaging` (or `wasi:messaging`, or
//! `lattice:messaging`) lets a component publish and ask; a
//! link with it as source brings messages to the component's handler. Both say which brokers; see
//! [`settings`]. As in 1.9, a link with it as target whose config names a `topic` does both.
//!
//! # Subjects
//!
//! What components call a subject is a topic. What follows after a `#` is the key of a published
//! message, so that messages of one key stay in one partition and in order; a link may ask for
//! subjects with keys in what arrives.
//!
//! # Delivery
//!
//! `publish` returns when all replicas that have to have the message have it. Messages of one
//! partition are handled one after the other, those of different partitions at once. The position
//! in a partition moves on after the handler has returned; one that failed is tried again in place,
//! and after its last attempt goes to the topic with `.dead` behind its name, or where `dead_letter`
//! says, with its key and headers and what it failed of, before the position moves on; a letter that
//! fails too and would come again, as its own link reads that topic, is in the log alone. Positions
//! are stored with the brokers every half second, so that what was handled just before a crash is
//! handled again.
//!
//! Of a partition whose handler is slow 64 messages wait at most, and of all partitions of a link together
//! 16 MiB, but for one message of each; more are taken from the brokers when there is room.
//!
//! # Metadata
//!
//! The content type of a message is the header `content-type`, and its metadata are headers, in
//! their order. Headers that are no UTF-8 are not metadata, nor are those that say where answers go.
//!
//! # Requests
//!
//! A request names a topic for its answer and a correlation id in its headers, `reply-topic` and
//! `correlation-id`. A message with those has a `reply-to` like `TOPIC?ID`, and what is published to that
//! carries the correlation id. Kafka does not know whether anybody listens: a request that nobody
//! answers ends with its timeout. Messages without those headers have the `reply-to` `TOPIC.reply`,
//! as in 1.9.
//!
//! # TLS and logins
//!
//! A link may say that connections are private, whom to trust, our own certificate, and who logs in
//! by SASL. The client library does that with the system's OpenSSL, whose headers a build needs
//! (Debian's `libssl-dev`). Logins by Kerberos and OAuth are not built in.

mod answers;
mod attempts;
mod broker;
mod client;
mod dead_letters;
mod message;
mod provider;
mod reader;
pub mod settings;
mod workers;

pub use provider::MessagingKafka;
