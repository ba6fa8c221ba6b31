//! Conformance guest: what blob stores have to do.

mod containers;
mod limits;
mod listing;
mod names;
mod objects;
mod outage;
mod ranges;
#[path = "../../suite-wit/statement.rs"]
mod statement;
mod streams;
mod world;
mod writing;

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
use world::World;

/// A case: its name, a statement, and what shows that it holds.
type Case = (&'static str, fn(&World) -> Result<(), Failure>);

fn all() -> impl Iterator<Item = &'static Case> {
    [
        containers::CASES,
        objects::CASES,
        ranges::CASES,
        writing::CASES,
        names::CASES,
        streams::CASES,
        limits::CASES,
        listing::CASES,
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
        let Some((at, case)) = case else {
            return Err(Failure::Failed(format!("there is no case `{name}`")));
        };
        let world = World::new(at, settings);
        let result = case(&world);
        world.leave();
        result
    }
}

bindings::export!(Suite with_types_in bindings);
