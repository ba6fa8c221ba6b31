//! Serving `lattice:queue@0.1.0` and calling its handlers: a queue provider is a [`Queues`] for each
//! link.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use lattice_provider_sdk::{LinkError, ProviderLink, Session, Settings, StartError};
//! # use lattice_provider_sdk::queue::{NewLink, QueueLinks, Queues};
//! # async fn demo<B: Send + Sync + 'static>(session: Session, link: ProviderLink, queues: B) -> Result<(), Box<dyn std::error::Error>>
//! # where Arc<B>: Queues {
//! let links = QueueLinks::serve(&session).await?; // once, in `Provider::start`
//! let settings = Settings::of(&session, &link);
//! let new = NewLink::read(&link, &settings, queues)?;
//! links.put(&session, &link, new); // for each link at either end
//! links.delete(&link).await; // for each that is deleted
//! # Ok(()) }
//! ```
//!
//! # What every link may say
//!
//! [`Linked`] does what does not depend on the backend. Keys are matched in any case.
//!
//! | key | end | meaning | default |
//! | --- | --- | --- | --- |
//! | `queue` | both | the queue behind the empty name, `default` and the name of the link | target: `default`; source: required |
//! | `prefix` | target | stands before every other name that the component uses | |
//! | `queues` | target | names that the component may use, with commas; others are denied | any |
//! | `lease_ms` | both | how long a delivery is leased when the component does not say | 30000 |
//! | `max_attempts` | both | after so many deliveries a message goes to the dead-letter queue; 0 = never | target: 0; source: 5 |
//! | `max_in_flight` | source | how many messages are handled at once | 16 |
//! | `timeout_ms` | source | how long one call of the handler may take | 60000 |
//! | `backoff_ms` | source | the delay after a first failure; it doubles with each | 1000 |
//! | `max_backoff_ms` | source | the longest such delay | 300000 |
//!
//! # Handlers
//!
//! A link with the provider as source receives from its queue and calls `handler.handle` of the
//! component. What the handler says settles the message; a trap, an answer that does not come in
//! time, and a host that goes away in the middle are failures: the message comes again after a
//! delay, and goes to the dead-letter queue with the last cause after `max_attempts`. A call that
//! never started (nobody runs the component, all who do are overloaded, or it could not leave the
//! process while the lattice's NATS is away) is nobody's failure: it is made again with growing delays
//! while the lease is kept alive, costs no attempt, and slows the receiving down for all. So a component that is away over night finds its messages in the queue. A
//! backend that lets nobody have a message for long gets it back meanwhile, behind those that came
//! later. Where it counts that as a delivery, the copy of the provider that gave the message back does
//! not, as long as its link stays; it knows of 16384 messages. What is to come again later than the
//! backend can do comes as late as it can.
//!
//! # Dead letters
//!
//! Those of the queue `jobs` are in the queue `jobs-dead` unless the backend's own settings name
//! another one, and [`dead_letter`] says what they look like. One that the dead-letter queue does not take,
//! as it is too large with what is told of its death, goes without its body, whose size in bytes is in
//! `dead-letter-size`, or without the attributes of its message where these are larger, and at last without
//! both. In a queue that is its own dead-letter queue, nothing can be rejected, and `max_attempts` does not
//! count: what is there comes until it is acknowledged.
//!
//! # Features
//!
//! What a backend can do is told in these words:
//!
//! | feature | value | means |
//! | --- | --- | --- |
//! | `consistency` | `strong`, `eventual` | whether a message that was sent is there for the next who receives; see [`vocabulary`](crate::vocabulary) |
//! | `ttl` | `queue`, `none` | all messages of a queue go after the same time, acknowledged or not; or none does |
//! | `cas`, `paging` | `none` | a queue is not looked through, and nothing in it changes |
//! | `delay` | longest delay in milliseconds | `send` takes a delay |
//! | `dedup` | length of the window in milliseconds | a `dedup-id` is heeded |
//! | `groups` | `yes` | messages of one `group` come in order, one at a time |
//! | `order` | `fifo`, `best-effort` | in which order messages without a group come, but for those that come again |
//! | `max-message-bytes` | bytes | the largest message, attributes included |
//! | `max-lease-ms` | milliseconds | the longest lease, extended ones included where there is such a limit |
//! | `dead-letter` | `yes` | `reject` and `max_attempts` keep the message |
//! | `depth` | `exact`, `approximate`, `ready-only` | what `depth-of` knows |
//!
//! A backend that has no delays, ids, groups or dead letters tells `none`, and refuses them as `unsupported` with the feature's name.

mod backend;
mod checks;
mod dead;
mod elsewhere;
mod leases;
mod linked;
mod links;
mod names;
mod push;
mod receipt;
mod remembered;
mod serve;
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
mod bindings {
    wit_bindgen_wrpc::generate!({
        inline: "
            package lattice:queue-provider;
            world provider {
                export lattice:queue/producer@0.1.0;
                export lattice:queue/consumer@0.1.0;
            }
        ",
        path: "../../interfaces/wit/lattice-queue-0.1.0",
        world: "lattice:queue-provider/provider",
        generate_all,
        additional_derives: [PartialEq, Eq],
    });
}

pub use backend::{
    Delivery, DeliveryAction, Depth, Message, Outcome, QueueError, Queues, ReceiveOptions,
    RemoteSettle, Sent,
};
pub use dead::{
    DEAD_LETTER_ATTEMPTS, DEAD_LETTER_QUEUE, DEAD_LETTER_REASON, DEAD_LETTER_SIZE, dead_letter,
    dead_name, smaller_dead_letter, stripped_dead_letter,
};
pub use leases::{DatedReceipt, LeaseState, LeaseTable};
pub use linked::Linked;
pub use links::{NewLink, QueueLinks};
pub use push::{Handlers, PushSettings};
pub use receipt::ReceiptKey;
pub use remembered::{Remembered, Taken};
pub use serve::serve;
