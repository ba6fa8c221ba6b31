//! What the cases are made of.

use std::fmt::Debug;

use crate::bindings::exports::lattice::conformance::suite::{Failure, Setting};
use crate::bindings::wasmcloud::postgres::query;
use crate::pg::{PgValue, QueryError};

/// What becomes of a case.
pub(crate) type Verdict = Result<(), Failure>;

/// A case with what it says.
pub(crate) type Case = (&'static str, fn(&Run) -> Verdict);

/// How much of a value an error shows.
const SHOWN: usize = 300;

/// One run of the suite.
pub(crate) struct Run {
    /// Text of this run alone: small letters and digits.
    own: String,
}

impl Run {
    pub(crate) fn new(settings: &[Setting]) -> Self {
        let found = settings.iter().find(|setting| setting.name == "run");
        let run = found.map_or("run", |setting| setting.value.as_str());
        let plain = run.chars().filter(char::is_ascii_alphanumeric);
        let own = plain.map(|c| c.to_ascii_lowercase()).collect();
        Self { own }
    }

    /// A table that nobody else uses, without anything in it.
    pub(crate) fn table(&self, name: &str, columns: &str) -> Result<String, Failure> {
        let table = format!("p_{}_{name}", self.own);
        let text = format!("DROP TABLE IF EXISTS {table}; CREATE TABLE {table} ({columns})");
        query::query_batch(&text)?;
        Ok(table)
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        failed(format!("the database answered with an error: {error:?}"))
    }
}

/// A failure in words.
pub(crate) fn failed(why: impl Into<String>) -> Failure {
    Failure::Failed(why.into())
}

fn shown(value: &impl Debug) -> String {
    format!("{value:?}").chars().take(SHOWN).collect()
}

/// Compares what came with what has to come, by what they show: the bindings have no equality.
pub(crate) fn equal<T: Debug>(what: &str, came: &T, wanted: &T) -> Verdict {
    if format!("{came:?}") == format!("{wanted:?}") {
        return Ok(());
    }
    let (came, wanted) = (shown(came), shown(wanted));
    Err(failed(format!("{what}: {came}, wanted {wanted}")))
}

/// Expects an error of a kind.
pub(crate) fn refused<T: Debug, E: Debug>(
    what: &str,
    came: Result<T, E>,
    wanted: &str,
    is_it: impl Fn(&E) -> bool,
) -> Verdict {
    match &came {
        Err(error) if is_it(error) => Ok(()),
        _ => Err(failed(format!("{what}: {}, wanted {wanted}", shown(&came)))),
    }
}

/// The values of the rows, without the names of their columns.
pub(crate) fn rows(text: &str, params: &[PgValue]) -> Result<Vec<Vec<PgValue>>, QueryError> {
    let rows = query::query(text, params)?;
    let values = |row: Vec<_>| row.into_iter().map(value).collect();
    Ok(rows.into_iter().map(values).collect())
}

fn value(entry: crate::pg::ResultRowEntry) -> PgValue {
    entry.value
}

/// How many rows a table has.
pub(crate) fn count(table: &str) -> Result<i64, Failure> {
    let rows = rows(&format!("SELECT COUNT(*) FROM {table}"), &[])?;
    match rows.first().and_then(|row| row.first()) {
        Some(PgValue::Int8(count)) => Ok(*count),
        other => Err(failed(format!("the count is {}", shown(&other)))),
    }
}

pub(crate) fn text(text: &str) -> PgValue {
    PgValue::Text(text.to_owned())
}
