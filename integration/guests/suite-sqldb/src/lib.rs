//! Conformance guest: what SQL databases have to do.

/// Bindings of this guest's world.
mod bindings {
    wit_bindgen::generate!({
        world: "lattice:suite-sqldb/suite-sqldb",
        path: [
            "../../../interfaces/wit/lattice-sql-0.1.0",
            "../suite-wit",
            "wit",
        ],
        generate_all,
    });
}

mod constraints;
mod kit;
mod limits;
mod locks;
mod outage;
mod pages;
#[path = "../../suite-wit/statement.rs"]
mod statement;
mod statements;
mod transactions;
mod values;

use bindings::exports::lattice::conformance::suite::{Failure, Guest, Setting};
use kit::{Case, Run, failed};

struct Suite;

fn all() -> Vec<Case> {
    [
        values::CASES,
        statements::CASES,
        constraints::CASES,
        pages::CASES,
        transactions::CASES,
        locks::CASES,
        limits::CASES,
    ]
    .concat()
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
        let cases = all();
        let found = cases.iter().find(|(known, _)| *known == name);
        let (_, case) = found.ok_or_else(|| failed(format!("there is no case `{name}`")))?;
        case(&Run::new(&settings)?)
    }
}

bindings::export!(Suite with_types_in bindings);
