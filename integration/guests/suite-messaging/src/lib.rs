//! Conformance guest: what brokers of messages by `wasmcloud:messaging@0.2.0` have to do.
//!
//! It is linked both ways: it publishes and asks, and is told of what it publishes itself, which it
//! answers. Instances share nothing, so whatever a case wants to know comes back as the answer to a
//! request: where the answer goes travels in the bodies.
//!
//! # What the driver links
//!
//! The component to the provider for `consumer`, and the provider to the component for `handler` with
//! this config, where the names of keys are the same for every backend:
//!
//! | key | value |
//! | --- | --- |
//! | `subscriptions` | `suite.ask.echo,suite.ask.relay,suite.ask.silent,suite.ask.error,suite.ask.about` and `suite.kept.note,suite.kept.flaky,suite.kept.error,suite.kept.trap,suite.kept.dead` |
//! | `max_deliver` | `3` |
//! | `backoff` | `50,400` |
//! | `dead_letter` | `suite.kept.dead`, which of RabbitMQ has to be a queue: one that `queue` names |
//!
//! For JetStream a stream with the subjects `suite.kept.>` is there, `stream` names it in place of the
//! subscriptions to those, and both links say the same NATS; the component's link says `jetstream`.
//!
//! For RabbitMQ the dead letters come back when the subscription is
//! `suite.kept.dead|suite.kept.dead`: the group is a queue of the same name.
//!
//! # Settings
//!
//! The features that the provider tells of the component's link: `feature:delivery`,
//! `feature:request`, `feature:dead-letter`, `feature:max-message-bytes`.

/// Bindings of this guest's world.
mod bindings {
    wit_bindgen::generate!({
        world: "lattice:suite-messaging/suite-messaging",
        path: [
            "../../../interfaces/wit/wasmcloud-messaging-0.2.0",
            "../suite-wit",
            "wit",
        ],
        additional_derives: [PartialEq],
        generate_all,
    });
}

mod bodies;
mod delivery;
mod handler;
mod kit;
mod outage;
mod requests;
#[path = "../../suite-wit/statement.rs"]
mod statement;
mod suite;
mod wire;

use suite::{Case, Suite, statements};

bindings::export!(Suite with_types_in bindings);
