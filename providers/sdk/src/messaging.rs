//! Messages for components: serving `lattice:messaging/producer@0.1.0` and
//! `wasmcloud:messaging/consumer@0.2.0`, and bringing what a broker has to the `handler` of either
//! package that a component exports.
//!
//! The two differ in what a message has: subject, body and `reply-to` in the one of 1.x, and in ours
//! a content type and metadata besides, which are headers at the broker, and requests with several
//! answers. A host speaks our package for a component whose messages are resources (`wasi:messaging`,
//! `wasmcloud:messaging@0.3.0`). A message with metadata or a content type goes to the handler of our
//! package, and where a component has none to that of 1.x. Links may be for any of these packages;
//! see [`check_package`].
//!
//! A messaging provider is a [`Broker`] for each link whose target it is, and has a [`Deliverer`]
//! for each link whose source it is:
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use lattice_provider_sdk::{Backends, LinkError, ProviderLink, Session, Settings, StartError};
//! # use lattice_provider_sdk::messaging::{self, Arriving, Broker, Deliverer, DeliveryRules, Defaults, Again, Intake, Verdict};
//! # async fn demo<B: Broker>(session: Session, link: ProviderLink, broker: B) -> Result<(), StartError> {
//! let backends = Arc::new(Backends::new());
//! messaging::serve(&session, Arc::clone(&backends)).await?; // once, in `Provider::start`
//! backends.put(&link, Arc::new(broker)); // for each target link that is put
//! # Ok(()) }
//! # async fn told(session: &Session, link: &ProviderLink, message: Arriving) -> Result<(), LinkError> {
//! let rules = DeliveryRules::read(&Settings::of(session, link), &Defaults::of(session))?;
//! let intake = Intake::new(); // owns the tasks that take messages
//! let deliverer = Deliverer::new(session, link, rules, &intake); // for each source link
//! let room = deliverer.room().await; // before the next message is taken from the broker
//! match deliverer.settle(&message, 0, Again::Here).await {
//!     Verdict::Done => { /* acknowledge */ }
//!     Verdict::Again(_after) => unreachable!("asked for attempts here"),
//!     Verdict::Dead(_letter) => { /* to where dead letters go, then acknowledge */ }
//!     Verdict::Left => { /* the broker keeps it */ }
//! }
//! drop(room);
//! # Ok(()) }
//! ```
//!
//! # What becomes of a message
//!
//! The handler is called, and the message is acknowledged after it has returned without an error.
//! An error of the handler, a trap and a deadline that passes are failed attempts; the next one
//! follows after a pause, and after the last one the message becomes a [`DeadLetter`], which says
//! why; where the broker finds it too large with that, it goes without its body. A letter that comes to
//! the component again, as the link hears where its letters go, and fails again, is in the log alone
//! ([`DeadLetter::goes_round`]). A component that was
//! not reached at all (no host runs it, its hosts are overloaded or about to stop) has not failed at
//! the message: such attempts do not count, and the message waits.
//!
//! A message that the broker does not keep is in the provider's memory alone ([`Deliverer::settle_unkept`]):
//! what the handler refuses or traps over is tried again just so, in a bounded number of places, and the
//! dead letter is published like any message. A call that was lost, or took too long, may have done
//! its work, so such a message is not given again. 1.x tried nothing again: `max_deliver` of 1 does not
//! either.
//!
//! What a link whose source is the provider may say of this, for every broker:
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `max_deliver` | how many attempts a message is given | 5 |
//! | `backoff` | the pauses between them in milliseconds, joined by commas; the last one is used again | `100,500,2000,10000` |
//! | `max_in_flight` | how many messages the component is given at once; 1 keeps their order | 64 |
//! | `timeout_ms` | how long the handler may take over one | the host's `--call-timeout-ms`, 5000 |
//! | `dead_letter` | where dead letters go; `none` leaves them to the log | the provider says |
//!
//! # Features
//!
//! What messaging providers tell of the backend of a link, in the same words:
//!
//! | feature | values |
//! | --- | --- |
//! | `consistency` | `strong`: once `publish` has answered, the broker has the message for all who read; `none`: it is on its way |
//! | `ttl` | what sets the time after which a message goes that nobody took: its `stream`, its `topic`, or the `session` or `queue` of a reader that is away; `none` where nothing does, and where nothing is kept |
//! | `cas`, `paging` | `none`: the interface has neither |
//! | `delivery` | `at-most-once`: what the component does not get when it is sent is lost; `at-least-once`: it is kept until the handler has returned, and may come twice |
//! | `order` | `subject`, `partition`, `queue` or `connection`: within what messages come in the order in which they were published |
//! | `request` | `no-responders` where a missing answerer is known at once, `yes` where it is not; `none` where there are no requests |
//! | `groups` | `yes`: several components, or copies of one, may share a subject; `none` |
//! | `max-message-bytes` | the largest body |
//! | `dead-letter` | `yes`: a message that cannot be delivered is kept with its cause; `none` |
//! | `headers` | `yes`: messages carry headers, of traces, of dead letters, and what components put into their metadata; `none` |

mod broker;
mod dead;
mod deliver;
mod failure;
mod handlers;
mod intake;
mod message;
mod ours;
mod replies;
mod rules;
mod serve;
mod serve_own;
mod unkept;
mod wire;

#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::error_impl_error,
    clippy::missing_errors_doc,
    clippy::wildcard_imports,
    reason = "generated from the WIT package"
)]
// The handler is called without bindings, see `wire`: as a whole, and by the shortest road.
mod bindings {
    wit_bindgen_wrpc::generate!({
        inline: "
            package lattice:messaging-provider;
            world provider {
                export wasmcloud:messaging/consumer@0.2.0;
                export lattice:messaging/producer@0.1.0;
            }
        ",
        path: [
            "../../interfaces/wit/wasmcloud-messaging-0.2.0",
            "../../interfaces/wit/lattice-messaging-0.1.0",
        ],
        world: "lattice:messaging-provider/provider",
        generate_all,
        additional_derives: [PartialEq, Eq],
    });
}

pub use bindings::lattice::messaging::types::{Error, Message};
pub use bindings::wasmcloud::messaging::types::BrokerMessage;
pub use broker::{Broker, MessagingError};
pub use dead::{Carried, DeadLetter};
pub use deliver::{Again, Arriving, Deliverer, Verdict};
pub use failure::Failure;
pub use intake::{Intake, Tasks};
pub use message::LARGEST_METADATA;
pub use ours::check_package;
pub use replies::{MOST_REPLIES, Replies};
pub use rules::{DeadLetterTo, Defaults, DeliveryRules};
pub use serve::serve;

/// The largest body that a call can carry, with some room for the rest of the message.
pub const LARGEST_BODY: usize = 63 * 1024 * 1024;
