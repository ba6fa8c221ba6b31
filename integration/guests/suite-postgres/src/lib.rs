//! Conformance guest: what databases by `wasmcloud:postgres@0.1.1-draft` have to do.

/// Bindings of this guest's world.
mod bindings {
    wit_bindgen::generate!({
        world: "lattice:suite-postgres/suite-postgres",
        path: [
            "../../../interfaces/wit/wasmcloud-postgres-0.1.1-draft",
            "../suite-wit",
            "wit",
        ],
        generate_all,
    });
}

mod kit;
mod outage;
mod prepared;
mod queries;
#[path = "../../suite-wit/statement.rs"]
mod statement;
mod types;
#[path = "../../../../providers/sqldb-postgres/tests/values/mod.rs"]
mod values;

use bindings::exports::lattice::conformance::suite::{Failure, Guest, Setting};
use bindings::wasmcloud::postgres::types as pg;
use kit::{Case, Run, failed};

struct Suite;

fn all() -> Vec<Case> {
    [queries::CASES, types::CASES, prepared::CASES].concat()
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
        case(&Run::new(&settings))
    }
}

bindings::export!(Suite with_types_in bindings);
