//! Conformance guest: what schedules have to do.

/// Bindings of this guest's world.
mod bindings {
    wit_bindgen::generate!({
        world: "lattice:suite-schedule/suite-schedule",
        path: [
            "../../../interfaces/wit/lattice-schedule-0.1.0",
            "../suite-wit",
            "wit",
        ],
        generate_all,
        additional_derives: [PartialEq, Clone],
    });
}

mod jobs;
mod kit;
mod notes;
mod outage;
#[path = "../../suite-wit/statement.rs"]
mod statement;
mod ticks;

use bindings::exports::lattice::conformance::suite::{Failure, Guest, Setting};
use kit::Case;

struct Suite;

fn all() -> Vec<Case> {
    [jobs::CASES, ticks::CASES].concat()
}

/// What holds over an outage.
fn statements() -> Vec<statement::Statement> {
    outage::STATEMENTS.to_vec()
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
