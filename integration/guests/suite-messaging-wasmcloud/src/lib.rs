//! Conformance guest: what brokers of messages by `wasmcloud:messaging@0.3.0` of 1.x have to do.
//!
//! The cases are those of `suite-messaging`, which says what the driver links; they differ in how they
//! speak with the broker, and there are more, about what messages of this shape have besides. The host
//! carries it over `lattice:messaging@0.1.0`.

/// Bindings of this guest's world.
mod bindings {
    wit_bindgen::generate!({
        world: "lattice:suite-messaging-wasmcloud/suite-messaging-wasmcloud",
        path: [
            "../../../interfaces/wit/wasmcloud-messaging-0.3.0-wasmcloud1",
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
#[path = "../../suite-messaging-wasi/src/metadata.rs"]
mod metadata;
#[path = "../../suite-messaging/src/outage.rs"]
mod outage;
#[path = "../../suite-messaging/src/requests.rs"]
mod requests;
#[path = "../../suite-wit/statement.rs"]
mod statement;
#[path = "../../suite-messaging/src/suite.rs"]
mod suite;
#[path = "../../suite-messaging-wasi/src/wire.rs"]
mod wire;

use bindings::exports::wasmcloud::messaging::incoming_handler;
use bindings::wasmcloud::messaging as package;
use suite::{Case, Suite, statements};

bindings::export!(Suite with_types_in bindings);
