//! What the cases are made of.

use std::fmt::Debug;

use crate::bindings::exports::lattice::conformance::suite::{Failure, Setting};
use crate::bindings::lattice::sql::sql::{self, Dialect, Done, Error, Isolation, Rows, Value};

/// What becomes of a case.
pub(crate) type Verdict = Result<(), Failure>;

/// A case with what it says.
pub(crate) type Case = (&'static str, fn(&Run<'_>) -> Verdict);

/// How much of a value an error shows.
const SHOWN: usize = 300;

/// One run of the suite.
pub(crate) struct Run<'a> {
    settings: &'a [Setting],
    pub(crate) dialect: Dialect,
}

impl<'a> Run<'a> {
    pub(crate) fn new(settings: &'a [Setting]) -> Result<Self, Failure> {
        Ok(Self {
            settings,
            dialect: sql::dialect_of("")?,
        })
    }

    /// A setting of the driver.
    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        let found = self.settings.iter().find(|setting| setting.name == name);
        found.map(|setting| setting.value.as_str())
    }

    /// What the provider told of itself.
    pub(crate) fn feature(&self, name: &str) -> Option<&str> {
        self.setting(&format!("feature:{name}"))
    }

    /// A table that nobody else uses, without anything in it.
    pub(crate) fn table(&self, name: &str, columns: &str) -> Result<Table, Failure> {
        let run = self.setting("run").unwrap_or("run");
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let run: String = run.chars().map(plain).collect();
        let name = format!("t_{run}_{name}").to_ascii_lowercase();
        let table = Table { name };
        table.drop_it();
        // There texts have the character set of the server unless a table says so.
        let any_text = self.of("", "DEFAULT CHARACTER SET utf8mb4", "");
        let name = &table.name;
        execute(&format!("CREATE TABLE {name} ({columns}) {any_text}"), &[])?;
        Ok(table)
    }

    /// The one of three texts that is for the database.
    pub(crate) fn of<'t>(&self, postgres: &'t str, mysql: &'t str, sqlite: &'t str) -> &'t str {
        match self.dialect {
            Dialect::Postgres => postgres,
            Dialect::Mysql => mysql,
            Dialect::Sqlite => sqlite,
        }
    }
}

/// A table that goes with its case.
pub(crate) struct Table {
    pub(crate) name: String,
}

impl Table {
    fn drop_it(&self) {
        // Where it is not there yet, and where a failed case left it locked, there is nothing to do.
        let _gone = execute(&format!("DROP TABLE IF EXISTS {}", self.name), &[]);
    }

    /// How many rows it has, as others see it.
    pub(crate) fn count(&self) -> Result<i64, Failure> {
        number(None, &format!("SELECT COUNT(*) FROM {}", self.name))
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.drop_it();
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
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

/// Compares what came with what has to come.
pub(crate) fn equal<T: PartialEq + Debug>(what: &str, came: T, wanted: T) -> Verdict {
    if came == wanted {
        return Ok(());
    }
    let (came, wanted) = (shown(&came), shown(&wanted));
    Err(failed(format!("{what}: {came}, wanted {wanted}")))
}

/// Expects an error of a kind.
pub(crate) fn refused<T: Debug>(
    what: &str,
    came: Result<T, Error>,
    wanted: &str,
    is_it: impl Fn(&Error) -> bool,
) -> Verdict {
    match &came {
        Err(error) if is_it(error) => Ok(()),
        _ => Err(failed(format!("{what}: {}, wanted {wanted}", shown(&came)))),
    }
}

pub(crate) fn execute(statement: &str, values: &[Value]) -> Result<Done, Error> {
    sql::execute("", None, statement, values)
}

pub(crate) fn execute_in(tx: &str, statement: &str, values: &[Value]) -> Result<Done, Error> {
    sql::execute("", Some(tx), statement, values)
}

pub(crate) fn query(statement: &str, values: &[Value]) -> Result<Vec<Vec<Value>>, Error> {
    Ok(sql::query("", None, statement, values, 0)?.rows)
}

pub(crate) fn page(tx: Option<&str>, statement: &str, max_rows: u32) -> Result<Rows, Error> {
    sql::query("", tx, statement, &[], max_rows)
}

pub(crate) fn begin(isolation: Isolation) -> Result<String, Error> {
    sql::begin("", isolation, 0)
}

/// The whole number in the only row and column.
pub(crate) fn number(tx: Option<&str>, statement: &str) -> Result<i64, Failure> {
    let rows = sql::query("", tx, statement, &[], 0)?.rows;
    let only = rows.first().and_then(|row| row.first());
    let number = only.and_then(whole);
    number.ok_or_else(|| failed(format!("`{statement}` answered {}", shown(&only))))
}

/// A whole number, as an integer or as a decimal.
pub(crate) fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Decimal(text) => text.parse().ok(),
        _ => None,
    }
}

pub(crate) fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}
