//! Values of every case, both ways.

use std::collections::BTreeSet;

use crate::bindings::wasmcloud::postgres::query;
use crate::kit::{Case, Run, Verdict, equal, failed, refused, rows};
use crate::pg::{PgValue, QueryError};
use crate::values::{self, case, same_both_ways, same_by_another_name};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    ("a value comes back as it went", same),
    (
        "a value of another name comes back as what it means",
        by_another_name,
    ),
    ("every case of a value is among these", all_of_them),
    ("a type that has no case is refused by name", no_case),
];

/// Sends a value as a parameter of a type and returns what comes back.
fn through(ty: &str, value: &PgValue) -> Result<PgValue, QueryError> {
    let found = rows(&format!("SELECT $1::{ty}"), std::slice::from_ref(value))?;
    Ok(found.into_iter().flatten().next().unwrap_or(PgValue::Null))
}

fn check(ty: &str, value: &PgValue, wanted: &PgValue) -> Verdict {
    match through(ty, value) {
        Ok(back) => equal(ty, &back, wanted),
        Err(error) => Err(failed(format!("{ty}: {value:?}: {error:?}"))),
    }
}

fn same(_run: &Run) -> Verdict {
    // The type `hstore` is one of an extension.
    query::query_batch("CREATE EXTENSION IF NOT EXISTS hstore")?;
    let mut all = same_both_ways().into_iter();
    all.try_for_each(|(ty, value)| check(ty, &value, &value))
}

fn by_another_name(_run: &Run) -> Verdict {
    let mut all = same_by_another_name().into_iter();
    all.try_for_each(|(ty, value, wanted)| check(ty, &value, &wanted))
}

fn all_of_them(_run: &Run) -> Verdict {
    let same = same_both_ways().into_iter().map(|(_, value)| value);
    let others = same_by_another_name()
        .into_iter()
        .map(|(_, value, _)| value);
    let all: BTreeSet<String> = same.chain(others).map(|value| case(&value)).collect();
    equal("cases", &all.len(), &values::CASES)
}

fn no_case(_run: &Run) -> Verdict {
    let query = "SELECT '[1,2)'::int4range";
    refused(
        query,
        rows(query, &[]),
        "a hint to cast",
        |error| matches!(error, QueryError::Unexpected(why) if why.contains("cast")),
    )
}
