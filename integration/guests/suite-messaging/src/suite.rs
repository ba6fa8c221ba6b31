//! The cases, as the driver calls them. Suites of every shape of messages share them.

use crate::bindings::exports::lattice::conformance::suite::{Failure, Guest, Setting};
use crate::kit::Kit;
use crate::{bodies, delivery, outage, requests, statement, wire};

/// A case: its name, a statement, and what shows that it holds.
pub(crate) type Case = (&'static str, fn(&Kit) -> Result<(), Failure>);

fn all() -> impl Iterator<Item = &'static Case> {
    let files = [requests::CASES, bodies::CASES, delivery::CASES, wire::CASES];
    files.into_iter().flatten()
}

/// The component.
pub(crate) struct Suite;

/// What holds over an outage.
pub(crate) fn statements() -> Vec<statement::Statement> {
    outage::STATEMENTS.to_vec()
}

impl Guest for Suite {
    fn cases() -> Vec<String> {
        all().map(|(name, _)| (*name).to_owned()).collect()
    }

    fn run(name: String, settings: Vec<Setting>) -> Result<(), Failure> {
        match all().find(|(known, _)| *known == name) {
            Some((_, case)) => case(&Kit::new(settings)),
            None => Err(Failure::Failed(format!("there is no case `{name}`"))),
        }
    }
}
