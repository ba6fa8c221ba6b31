//! Conformance guest: what queues have to do.

mod dead;
mod features;
mod handled;
mod handler;
mod kit;
mod leases;
mod messages;
mod outage;
mod refusals;
#[path = "../../suite-wit/statement.rs"]
mod statement;

/// Bindings of this guest's world.
mod bindings {
    wit_bindgen::generate!({
        world: "lattice:suite-queue/suite-queue",
        path: [
            "../../../interfaces/wit/lattice-queue-0.1.0",
            "../suite-wit",
            "wit",
        ],
        additional_derives: [PartialEq],
        generate_all,
    });
}

use bindings::exports::lattice::conformance::suite::{Failure, Guest, Setting};
use kit::Kit;

/// A case: its name, a statement, and what shows that it holds.
type Case = (&'static str, fn(&Kit) -> Result<(), Failure>);

fn all() -> impl Iterator<Item = &'static Case> {
    [
        messages::CASES,
        leases::CASES,
        dead::CASES,
        features::CASES,
        refusals::CASES,
        handled::CASES,
    ]
    .into_iter()
    .flatten()
}

struct Suite;

/// What holds over an outage.
fn statements() -> Vec<statement::Statement> {
    outage::STATEMENTS.to_vec()
}

impl Guest for Suite {
    fn cases() -> Vec<String> {
        all().map(|(name, _)| (*name).to_owned()).collect()
    }

    fn run(name: String, settings: Vec<Setting>) -> Result<(), Failure> {
        let at = all().position(|(known, _)| *known == name);
        let case = at.and_then(|at| Some((at, all().nth(at)?.1)));
        match case {
            Some((at, case)) => case(&Kit::new(at, settings)),
            None => Err(Failure::Failed(format!("there is no case `{name}`"))),
        }
    }
}

bindings::export!(Suite with_types_in bindings);
