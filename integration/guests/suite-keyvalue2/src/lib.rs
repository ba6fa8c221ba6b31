//! Conformance guest: what key-value stores by `wasi:keyvalue@0.2.0-draft2` have to do.

/// Bindings of this guest's world.
mod bindings {
    wit_bindgen::generate!({
        world: "lattice:suite-keyvalue2/suite-keyvalue2",
        path: [
            "../../../interfaces/wit/wasi-keyvalue-0.2.0-draft2",
            "../suite-wit",
            "wit",
        ],
        generate_all,
    });
}

#[path = "../../suite-keyvalue/src/batches.rs"]
mod batches;
mod counts;
#[path = "../../suite-keyvalue/src/kit.rs"]
mod kit;
#[path = "../../suite-keyvalue/src/outage.rs"]
mod outage;
#[path = "../../suite-keyvalue/src/pages.rs"]
mod pages;
#[path = "../../suite-wit/statement.rs"]
mod statement;
mod swapping;
mod swaps;
#[path = "../../suite-keyvalue/src/values.rs"]
mod values;
#[path = "../../suite-keyvalue/src/watch.rs"]
mod watch;

use bindings::exports::lattice::conformance::suite::{Failure, Guest, Setting};
use kit::Case;

struct Suite;

fn all() -> Vec<Case> {
    [
        values::CASES,
        batches::CASES,
        counts::CASES,
        swaps::CASES,
        pages::CASES,
        watch::CASES,
    ]
    .concat()
}

/// What holds over an outage.
fn statements() -> Vec<statement::Statement> {
    [outage::STATEMENTS, swapping::STATEMENTS].concat()
}

/// A cursor as `list-keys` takes it.
fn as_cursor(cursor: &Option<String>) -> Option<&str> {
    cursor.as_deref()
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
