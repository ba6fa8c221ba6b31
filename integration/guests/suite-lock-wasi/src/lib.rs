//! Conformance guest: what locks by `wasi:distributed-lock` have to do.

/// Bindings of this guest's world.
mod bindings {
    wit_bindgen::generate!({
        world: "lattice:suite-lock-wasi/suite-lock-wasi",
        path: [
            "../../../interfaces/wit/wasi-distributed-lock-0.1.0",
            "../suite-wit",
            "wit",
        ],
        generate_all,
    });
}

mod cases;
mod outage;
#[path = "../../suite-wit/statement.rs"]
mod statement;

use bindings::exports::lattice::conformance::suite::{Failure, Guest, Setting};

struct Suite;

/// What holds over an outage.
fn statements() -> Vec<statement::Statement> {
    outage::STATEMENTS.to_vec()
}

impl Guest for Suite {
    fn cases() -> Vec<String> {
        let names = cases::CASES.iter().map(|(name, _)| (*name).to_owned());
        names.collect()
    }

    fn run(name: String, settings: Vec<Setting>) -> Result<(), Failure> {
        let found = cases::CASES.iter().find(|(known, _)| *known == name);
        match found {
            Some((_, case)) => case(&cases::Run(&settings)),
            None => Err(Failure::Failed(format!("there is no case `{name}`"))),
        }
    }
}

bindings::export!(Suite with_types_in bindings);
