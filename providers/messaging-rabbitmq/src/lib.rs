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
//! error in that case. A link with this provider as source has a durable queue, which keeps messages
//! while the provider is away, for as long as `queue_expiry_s` says; copies of the provider share it,
//! and so do links that name the same group. A message is acknowledged after the handler has returned.
//! One that failed is tried again in place, and after its last attempt goes to the queue of the same
//! name with `.dead` behind it, or where `dead_letter` says, with what it failed of as headers, before
//! it is acknowledged.
//!
//! A server takes the messages back that somebody holds for half an hour, and with them all that came
//! over the same channel. So what could not be delivered within 25 minutes goes back to the queue by
//! itself. How often it has failed is remembered for as long as the link is with this copy of the provider,
//! so that it is given up after `max_deliver` attempts however long the pauses are; the pause that it was in
//! ends there. Another copy, or one that was started again, counts anew.
//!
//! A letter has the properties and headers of its message, but for those on which the server acts: the user who
//! sent it and its time to live are left out, and `CC`, `BCC` and the letter's own names stand behind
//! `lattice-original-`. Where it would not fit into a frame with all its headers it goes without body, and then
//! without them. A letter that the queue is for that it comes from, and that fails too, is in the log alone.
//!
//! # A server that is short of memory or disk
//!
//! RabbitMQ reads nothing then from connections that publish. So each server has two connections: one
//! publishes, and the other takes messages and acknowledges them, so that queues go on being emptied. What is
//! published meanwhile, requests too, is an error at once, and the link of who publishes is failed; dead letters
//! wait, and so do their messages. At most 64 MiB of messages wait at the provider for a server to read them,
//! for whatever reason it does not, and 4 MiB more of those of up to 64 KiB, which do not wait behind large ones;
//! what finds no room within two seconds is an error, and was not sent.
//!
//! A message that was read and is not confirmed takes 512 bytes of that room, so that 139264 of them fill it,
//! such as those of a quorum queue that has lost most of its copies. Once a message has waited in vain, the
//! links of those who publish to the server are failed until there is room again.
//!
//! # Bindings
//!
//! The queues of a link are bound to the exchange by way of exchanges of the link's own, whose names
//! begin with `lattice.`, so that a link that changes has its new keys and no others. Messages of keys
//! that stay are not missed meanwhile. A link that is deleted, or moved to another server, takes its
//! bindings along; its queues stay, with what is in them, until they expire. One that is deleted or moved
//! while no copy of the provider runs stays bound until then, and so does one whose old server is not
//! there within an hour of the move. Bindings that have gone while a copy of the provider has the link it
//! makes again.
//!
//! A queue that is there already is used as it is: what `queue_expiry_s` says is for queues that are
//! made. Those of earlier versions of this provider do not expire; delete them when they are empty, or
//! give them an expiry by a policy of the server. Of the bindings that these versions made, those of
//! groups and of a `queue` that the link names stay, as they may be somebody else's.
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

mod bindings;
mod broker;
mod consumer;
mod dead_letters;
mod given_back;
mod intake_line;
mod left;
mod lock;
mod message;
mod provider;
mod publish_line;
mod queue;
mod rabbit;
mod room;
pub mod settings;

pub use provider::MessagingRabbitMq;
