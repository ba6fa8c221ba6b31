//! Conformance guest: what brokers of messages by `wasi:messaging@0.2.0-draft` have to do.
//!
//! The cases are those of `suite-messaging`, which says what the driver links; they differ in how they
//! speak with the broker, and there are more, about what messages of this shape have besides. The host
//! carries it over `lattice:messaging@0.1.0`.

/// Bindings of this guest's world.
mod bindings {
    wit_bindgen::generate!({
        world: "lattice:suite-messaging-wasi/suite-messaging-wasi",
        path: [
            "../../../interfaces/wit/wasi-messaging-0.2.0-draft",
            "../suite-wit",
            "wit",
        ],
        generate_all,
    });
}

#[path = "../../suite-messaging/src/bodies.rs"]
mod bodies;
#[path = "../../suite-messaging/src/delivery.rs"]
mod delivery;
#[path = "../../suite-messaging/src/handler.rs"]
mod handler;
#[path = "../../suite-messaging/src/kit.rs"]
mod kit;
mod metadata;
#[path = "../../suite-messaging/src/outage.rs"]
mod outage;
#[path = "../../suite-messaging/src/requests.rs"]
mod requests;
#[path = "../../suite-wit/statement.rs"]
mod statement;
#[path = "../../suite-messaging/src/suite.rs"]
mod suite;
mod wire;

use bindings::exports::wasi::messaging::incoming_handler;
use bindings::wasi::messaging as package;
use suite::{Case, Suite, statements};

bindings::export!(Suite with_types_in bindings);
