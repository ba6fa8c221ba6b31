//! Conformance guest: what blob stores have to do.

/// Bindings of this guest's world.
mod bindings {
    wit_bindgen::generate!({
        world: "lattice:suite-blobstore/suite-blobstore",
        path: [
            "../../../interfaces/wit/wasi-io-0.2.6",
            "../../../interfaces/wit/wasi-blobstore-0.2.0-draft",
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
