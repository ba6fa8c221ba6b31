//! Messages for components: the provider that speaks MQTT 5.
//!
//! A link with this provider as target of `wasmcloud:messaging` (or `wasi:messaging`, or
//! `lattice:messaging`) lets a component publish and ask; a
//! link with it as source brings messages to the component's handler. Both say which broker; see
//! [`settings`].
//!
//! # Subjects
//!
//! What components call a subject is an MQTT topic, as it is: words joined by `/`, no dots turned
//! into slashes. Filters of a link may have the wildcards `+` and `#`.
//!
//! # Delivery
//!
//! With `qos` 1, the default, `publish` returns when the broker has acknowledged the message, and a
//! message that arrives is acknowledged after the handler has returned; acknowledgements go out in
//! the order in which the messages came, as MQTT demands, and no more than `max_in_flight` are
//! handled from the first that is not acknowledged on. What the broker has not heard of comes again
//! when the provider ends. The session of a link outlives its connection: what is published while the
//! provider is away comes when it is back, within `session_expiry_s`. It has one name in the whole
//! lattice, so that of several copies of this provider one has it at a time and another takes over. A
//! copy says on `lattice/sessions/…` that it takes a session, since not all brokers tell why they
//! hang up; where a broker lets users at some topics only, these and `lattice/answers/…` are among
//! them: a group needs both. Messages that are to be spread over the copies name a group. Where all
//! filters of a link do, each copy has a session of its own; those are numbered, and a copy that starts
//! asks on `lattice/sessions/…` who has which, and takes the first for which nobody answers: that of
//! one that has ended, on whatever host. Brokers such as Mosquitto go on keeping a share of the group's
//! messages for a session that nobody has. The next copy that starts gets them; where none does, they are
//! lost when the session expires: where copies come and go, say a short `session_expiry_s`, and where all may be
//! away for long, a long one.
//!
//! A link whose subscriptions change keeps its session, with all that the broker holds for it, and
//! unsubscribes what it does not name any more. What is taken away while no copy of the provider runs is not
//! known, and goes on coming; another `client_id` begins anew, and so does a link that comes to name
//! groups only, or no longer does: what its session before holds is not handled. The session of a link
//! that is deleted is unsubscribed, unless another copy or link has it, and goes with what it holds when
//! it expires.
//!
//! A message that failed is tried again in place, and after its last attempt goes to
//! `lattice/dead/COMPONENT`, or where `dead_letter` says, with what it failed of as user properties.
//! Brokers forget what nobody subscribes to. Where the link names the topic, a letter of which the
//! broker says that nobody hears is posted again until somebody does; the message stays with the
//! broker, and the link tells of it as failed. Without `dead_letter` such a letter is in the log alone,
//! and the link has no `dead-letter` to require. A link with this provider as target tells
//! `dead-letter` for what it publishes with `qos` 1; whether it is so is for the link to say that brings
//! it. A letter does not expire with its message. One that its own link hears, as a link with the filter `#`
//! does, is given to the component like any message; where that fails too it is in the log alone, for it would
//! come again.
//!
//! # Metadata
//!
//! The content type of a message is that of MQTT, and its metadata are user properties, in their
//! order. Control characters, line breaks among them, are refused by name: brokers may hang up over
//! them.
//!
//! # Requests
//!
//! A request carries a response topic of its own and correlation data. A message that asks for an
//! answer has its response topic as `reply-to`; where it came with correlation data these follow
//! after a `#`, which no topic has, and go with what is published to it.

mod broker;
mod broker_session;
mod dead_letters;
mod message;
mod options;
mod provider;
mod publisher;
pub mod settings;
mod subscriber;
mod unacked;

pub use provider::MessagingMqtt;
