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

mod batches;
mod counts;
mod kit;
mod outage;
mod pages;
#[path = "../../suite-wit/statement.rs"]
mod statement;
mod values;
mod watch;

use bindings::exports::lattice::conformance::suite::{Failure, Guest, Setting};
use kit::Case;

struct Suite;

fn all() -> Vec<Case> {
    [
        values::CASES,
        batches::CASES,
        counts::CASES,
        pages::CASES,
        watch::CASES,
    ]
    .concat()
}

/// What holds over an outage.
fn statements() -> Vec<statement::Statement> {
    outage::STATEMENTS.to_vec()
}

/// A cursor as `list-keys` takes it.
fn as_cursor(cursor: &Option<u64>) -> Option<u64> {
    *cursor
}

impl Guest for Suite {
    fn cases() -> Vec<String> {
        all().iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    fn run(name: String, settings: Vec<Setting>) -> Result<(), Failure> {
        kit::run(&all(), &name, &settings)
    }
}

bindings::export!(Suite with_types_in bindings);
