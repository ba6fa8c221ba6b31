//! Conformance guest: what key-value stores by `wasi:keyvalue@0.2.0-draft` have to do.

/// Bindings of this guest's world.
mod bindings {
    wit_bindgen::generate!({
        world: "lattice:suite-keyvalue/suite-keyvalue",
        path: [
            "../../../interfaces/wit/wasi-keyvalue-0.2.0-draft",
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
