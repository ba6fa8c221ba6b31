//! What holds over an outage of the database.

use std::collections::HashSet;

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::lattice::sql::sql::{self, Dialect, Isolation, Value};
use crate::kit::{Verdict, equal, execute, execute_in, number, query, whole};
use crate::statement::{Outcome, Statement, Told, away, broken};

/// The statements of this file.
pub(crate) const STATEMENTS: &[Statement] = &[
    Statement {
        name: "transfers keep their sum over traps and an outage, and leave nothing open",
        attempt: transfer,
        check: sum_stays,
    },
    Statement {
        name: "a row that was acknowledged is there after an outage, and none is there twice",
        attempt: insert,
        check: rows_stay,
    },
];

const ACCOUNTS: i64 = 4;
const EACH: i64 = 1000;
/// What a trap leaves behind is over by then.
const TRANSACTION_MS: u32 = 2000;

fn table(told: &Told<'_>, name: &str) -> String {
    format!("o_{}_{name}", told.run())
}

fn run(statement: &str, values: &[Value]) -> Result<(), Failure> {
    execute(statement, values).map_err(away).map(drop)
}

fn accounts(told: &Told<'_>) -> Result<String, Failure> {
    let (accounts, log) = (table(told, "accounts"), table(told, "log"));
    let columns = "id BIGINT PRIMARY KEY, balance BIGINT NOT NULL";
    run(&format!("CREATE TABLE {accounts} ({columns})"), &[])?;
    run(
        &format!("CREATE TABLE {log} (step BIGINT PRIMARY KEY)"),
        &[],
    )?;
    for id in 0..ACCOUNTS {
        let values = [Value::Int(id), Value::Int(EACH)];
        run(&format!("INSERT INTO {accounts} VALUES (?, ?)"), &values)?;
    }
    Ok("the tables".to_owned())
}

/// Moves one from an account to another, and notes it.
fn transfer(told: &Told<'_>, step: u32) -> Result<String, Failure> {
    if step == 0 {
        return accounts(told);
    }
    let step = i64::from(step);
    let (from, to) = (step % ACCOUNTS, (step / ACCOUNTS + step + 1) % ACCOUNTS);
    let change = format!(
        "UPDATE {} SET balance = balance + ? WHERE id = ?",
        table(told, "accounts")
    );
    let note = format!("INSERT INTO {} VALUES (?)", table(told, "log"));
    let tx = sql::begin("", Isolation::Default, TRANSACTION_MS).map_err(away)?;
    let work = || {
        execute_in(&tx, &change, &[Value::Int(-1), Value::Int(from)])?;
        told.trap_if_wanted();
        execute_in(&tx, &change, &[Value::Int(1), Value::Int(to)])?;
        execute_in(&tx, &note, &[Value::Int(step)])?;
        sql::commit("", &tx)
    };
    match work() {
        Ok(()) => Ok(step.to_string()),
        Err(error) => {
            // It may be over, or the database may be away.
            let _ended = sql::rollback("", &tx);
            Err(away(error))
        }
    }
}

fn sum_stays(told: &Told<'_>, outcome: &Outcome<'_>) -> Verdict {
    let accounts = table(told, "accounts");
    let sum = number(None, &format!("SELECT SUM(balance) FROM {accounts}"))?;
    equal("the sum", sum, ACCOUNTS * EACH)?;
    noted(&table(told, "log"), outcome)?;
    // A transaction that is still open has locked what this changes.
    let all = format!("UPDATE {accounts} SET balance = balance + ?");
    equal(
        "accounts",
        execute(&all, &[Value::Int(0)])?.affected >= 1,
        true,
    )?;
    nothing_open()
}

/// Every step that was acknowledged is in the table.
fn noted(table: &str, outcome: &Outcome<'_>) -> Verdict {
    let mut there = HashSet::new();
    for row in query(&format!("SELECT step FROM {table}"), &[])? {
        there.extend(row.first().and_then(whole));
    }
    let tried: HashSet<i64> = outcome.attempts.iter().map(|a| i64::from(a.step)).collect();
    if let Some((step, _)) = outcome
        .told()
        .find(|(step, _)| *step > 0 && !there.contains(&i64::from(*step)))
    {
        return Err(broken(format!(
            "step {step} was acknowledged and is not there"
        )));
    }
    match there.difference(&tried).next() {
        Some(step) => Err(broken(format!("nobody did step {step}"))),
        None => Ok(()),
    }
}

/// No session holds a transaction, where the database tells.
fn nothing_open() -> Verdict {
    if !matches!(sql::dialect_of("")?, Dialect::Postgres) {
        return Ok(());
    }
    let open = "SELECT COUNT(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    equal("open transactions", number(None, open)?, 0)
}

fn insert(told: &Told<'_>, step: u32) -> Result<String, Failure> {
    let rows = table(told, "rows");
    if step == 0 {
        run(&format!("CREATE TABLE {rows} (step BIGINT)"), &[])?;
        return Ok("the table".to_owned());
    }
    run(
        &format!("INSERT INTO {rows} VALUES (?)"),
        &[Value::Int(step.into())],
    )?;
    Ok(step.to_string())
}

fn rows_stay(told: &Told<'_>, outcome: &Outcome<'_>) -> Verdict {
    let rows = table(told, "rows");
    noted(&rows, outcome)?;
    let twice = format!(
        "SELECT COUNT(*) FROM (SELECT step FROM {rows} GROUP BY step HAVING COUNT(*) > 1) AS twice"
    );
    equal("rows that are there twice", number(None, &twice)?, 0)
}
