//! Conformance guest: what brokers of messages have to do.

/// Bindings of this guest's world.
mod bindings {
    wit_bindgen::generate!({
        world: "lattice:suite-messaging/suite-messaging",
        path: [
            "../../../interfaces/wit/wasmcloud-messaging-0.2.0",
            "../suite-wit",
            "wit",
        ],
        generate_all,
    });
}

use bindings::exports::lattice::conformance::suite::{Failure, Guest, Setting};

struct Suite;

impl Guest for Suite {
    fn cases() -> Vec<String> {
        Vec::new()
    }

    fn run(name: String, _settings: Vec<Setting>) -> Result<(), Failure> {
        Err(Failure::Failed(format!("there is no case `{name}`")))
    }
}

bindings::export!(Suite with_types_in bindings);
