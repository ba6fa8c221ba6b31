//! SQL.

use crate::bindings::lattice::sql::sql;
use crate::bindings::lattice::sql::sql::Value;
use crate::{Amount, Done, told};

/// How many rows there are.
const ROWS: u32 = 1000;

fn id(at: u32) -> Value {
    Value::Int(i64::from(at % ROWS))
}

pub(crate) fn prepare(amount: Amount) -> Done {
    let execute = |statement: &str| sql::execute("", None, statement, &[]).map_err(told);
    execute("DROP TABLE IF EXISTS ops")?;
    execute("CREATE TABLE ops (id BIGINT PRIMARY KEY, name TEXT NOT NULL, n BIGINT NOT NULL)")?;
    let name = "x".repeat(amount.size as usize);
    let row = |at| vec![id(at), Value::Text(name.clone()), Value::Int(0)];
    let rows: Vec<_> = (0..ROWS).map(row).collect();
    let insert = "INSERT INTO ops (id, name, n) VALUES (?, ?, ?)";
    let done = sql::execute_many("", None, insert, &rows).map_err(told)?;
    match done.affected {
        affected if affected == u64::from(ROWS) => Ok(()),
        affected => Err(format!("{affected} rows were made")),
    }
}

pub(crate) fn query(amount: Amount) -> Done {
    amount.each(|at| {
        let select = "SELECT id, name, n FROM ops WHERE id = ?";
        let rows = sql::query("", None, select, &[id(at)], 10).map_err(told)?;
        match rows.rows.len() {
            1 => Ok(()),
            count => Err(format!("there are {count} rows")),
        }
    })
}

pub(crate) fn execute(amount: Amount) -> Done {
    amount.each(|at| {
        let update = "UPDATE ops SET n = n + 1 WHERE id = ?";
        let done = sql::execute("", None, update, &[id(at)]).map_err(told)?;
        match done.affected {
            1 => Ok(()),
            affected => Err(format!("{affected} rows were changed")),
        }
    })
}
