//! Transactions from their begin to their end.

use crate::bindings::lattice::sql::sql::{self, Error, Isolation, Value};
use crate::kit::{Case, Run, Verdict, begin, equal, execute, execute_in, failed, number, refused};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    ("what is committed stays", committed),
    ("what is rolled back is gone", rolled_back),
    (
        "a transaction sees its own writes, and others do not",
        isolated,
    ),
    ("a transaction is of use until its end", ended),
    ("a transaction of nobody is gone", unknown),
    ("a transaction ends with its time", out_of_time),
    ("a savepoint can be gone back to", savepoint),
    ("many rows go in all or not at all", all_or_nothing),
    (
        "many rows in a transaction are all or nothing of it",
        part_of_transaction,
    ),
    ("every level of isolation can be asked for", levels),
    ("transfers keep their sum", transfers),
];

fn is_gone(error: &Error) -> bool {
    matches!(error, Error::TransactionGone)
}

fn committed(run: &Run<'_>) -> Verdict {
    let table = run.table("commit", "a BIGINT")?;
    let tx = begin(Isolation::Default)?;
    for value in [1, 2] {
        let insert = format!("INSERT INTO {} (a) VALUES (?)", table.name);
        execute_in(&tx, &insert, &[Value::Int(value)])?;
    }
    sql::commit("", &tx)?;
    equal("rows", table.count()?, 2)
}

fn rolled_back(run: &Run<'_>) -> Verdict {
    let table = run.table("rollback", "a BIGINT")?;
    let tx = begin(Isolation::Default)?;
    execute_in(
        &tx,
        &format!("INSERT INTO {} (a) VALUES (1)", table.name),
        &[],
    )?;
    sql::rollback("", &tx)?;
    equal("rows", table.count()?, 0)
}

fn isolated(run: &Run<'_>) -> Verdict {
    let table = run.table("isolated", "a BIGINT")?;
    let count = format!("SELECT COUNT(*) FROM {}", table.name);
    let tx = begin(Isolation::ReadCommitted)?;
    execute_in(
        &tx,
        &format!("INSERT INTO {} (a) VALUES (1)", table.name),
        &[],
    )?;
    equal("rows inside", number(Some(&tx), &count)?, 1)?;
    equal("rows outside", number(None, &count)?, 0)?;
    sql::commit("", &tx)?;
    equal("rows afterwards", number(None, &count)?, 1)
}

fn ended(run: &Run<'_>) -> Verdict {
    let table = run.table("ended", "a BIGINT")?;
    let insert = format!("INSERT INTO {} (a) VALUES (1)", table.name);
    let tx = begin(Isolation::Default)?;
    sql::commit("", &tx)?;
    refused(
        "a second commit",
        sql::commit("", &tx),
        "transaction-gone",
        is_gone,
    )?;
    refused(
        "a statement",
        execute_in(&tx, &insert, &[]),
        "transaction-gone",
        is_gone,
    )?;
    let queried = sql::query("", Some(&tx), "SELECT 1", &[], 0);
    refused("a query", queried, "transaction-gone", is_gone)?;
    equal("rows", table.count()?, 0)
}

fn unknown(_: &Run<'_>) -> Verdict {
    let names = [
        "",
        "tx",
        "tx-0123456789abcdef-00000000000000000000000000000000",
        "'; COMMIT",
    ];
    for name in names {
        let came = execute_in(name, "SELECT 1", &[]);
        refused("no transaction", came, "transaction-gone", is_gone)?;
        refused(
            "no transaction",
            sql::commit("", name),
            "transaction-gone",
            is_gone,
        )?;
    }
    Ok(())
}

/// How often a transaction is used until it has ended, at most.
const USES: usize = 100_000;

fn out_of_time(run: &Run<'_>) -> Verdict {
    let table = run.table("time", "a BIGINT")?;
    let tx = sql::begin("", Isolation::Default, 300)?;
    execute_in(
        &tx,
        &format!("INSERT INTO {} (a) VALUES (1)", table.name),
        &[],
    )?;
    for _ in 0..USES {
        match sql::query("", Some(&tx), "SELECT 1", &[], 0) {
            Ok(_) => {}
            Err(Error::TransactionGone | Error::Timeout) => {
                refused(
                    "a commit",
                    sql::commit("", &tx),
                    "transaction-gone",
                    is_gone,
                )?;
                return equal("rows", table.count()?, 0);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(failed("a transaction of 300 ms goes on"))
}

fn savepoint(run: &Run<'_>) -> Verdict {
    let table = run.table("savepoint", "a BIGINT PRIMARY KEY")?;
    let insert = format!("INSERT INTO {} (a) VALUES (?)", table.name);
    let tx = begin(Isolation::Default)?;
    execute_in(&tx, &insert, &[Value::Int(1)])?;
    execute_in(&tx, "SAVEPOINT here", &[])?;
    execute_in(&tx, &insert, &[Value::Int(2)])?;
    let twice = execute_in(&tx, &insert, &[Value::Int(1)]);
    refused("a row that is there", twice, "failed", |e| {
        matches!(e, Error::Failed(_))
    })?;
    execute_in(&tx, "ROLLBACK TO SAVEPOINT here", &[])?;
    execute_in(&tx, &insert, &[Value::Int(3)])?;
    sql::commit("", &tx)?;
    let sum = number(None, &format!("SELECT SUM(a) FROM {}", table.name))?;
    equal("the sum of what stayed", sum, 4)
}

fn all_or_nothing(run: &Run<'_>) -> Verdict {
    let table = run.table("many", "a BIGINT PRIMARY KEY")?;
    let insert = format!("INSERT INTO {} (a) VALUES (?)", table.name);
    let rows = |numbers: &[i64]| -> Vec<_> {
        numbers
            .iter()
            .map(|number| vec![Value::Int(*number)])
            .collect()
    };
    let came = sql::execute_many("", None, &insert, &rows(&[1, 2, 3, 1]));
    refused("a row that comes twice", came, "failed", |e| {
        matches!(e, Error::Failed(_))
    })?;
    equal("rows after a failure", table.count()?, 0)?;
    let uneven = [vec![Value::Int(1)], Vec::new()];
    let came = sql::execute_many("", None, &insert, &uneven);
    let is_invalid = |e: &Error| matches!(e, Error::InvalidParameter(_));
    refused(
        "a row without its value",
        came,
        "invalid-parameter",
        is_invalid,
    )?;
    let done = sql::execute_many("", None, &insert, &rows(&[1, 2, 3]))?;
    equal("affected", done.affected, 3)?;
    let none = sql::execute_many("", None, &insert, &[])?;
    equal("affected by nothing", none.affected, 0)?;
    equal("rows", table.count()?, 3)
}

fn part_of_transaction(run: &Run<'_>) -> Verdict {
    let table = run.table("part", "a BIGINT PRIMARY KEY")?;
    let insert = format!("INSERT INTO {} (a) VALUES (?)", table.name);
    let rows = [1, 2, 1].map(|number| vec![Value::Int(number)]);
    let tx = begin(Isolation::Default)?;
    execute_in(&tx, &insert, &[Value::Int(9)])?;
    let came = sql::execute_many("", Some(&tx), &insert, &rows);
    refused("a row that comes twice", came, "failed", |e| {
        matches!(e, Error::Failed(_))
    })?;
    sql::execute_many("", Some(&tx), &insert, &rows[..2])?;
    sql::commit("", &tx)?;
    equal("rows", table.count()?, 3)
}

fn levels(run: &Run<'_>) -> Verdict {
    let table = run.table("levels", "a BIGINT")?;
    for isolation in [
        Isolation::Default,
        Isolation::ReadCommitted,
        Isolation::RepeatableRead,
        Isolation::Serializable,
    ] {
        let tx = begin(isolation)?;
        execute_in(
            &tx,
            &format!("INSERT INTO {} (a) VALUES (1)", table.name),
            &[],
        )?;
        sql::commit("", &tx)?;
    }
    equal("rows", table.count()?, 4)
}

fn transfers(run: &Run<'_>) -> Verdict {
    let table = run.table(
        "accounts",
        "id BIGINT PRIMARY KEY, balance BIGINT NOT NULL, CONSTRAINT funds CHECK (balance >= 0)",
    )?;
    let name = &table.name;
    for id in 0..4 {
        execute(
            &format!("INSERT INTO {name} VALUES (?, 10)"),
            &[Value::Int(id)],
        )?;
    }
    let change = format!("UPDATE {name} SET balance = balance + ? WHERE id = ?");
    let mut refusals = 0;
    for step in 0..20_i64 {
        let (from, to) = (step % 4, (step * step + 1) % 4);
        let tx = begin(Isolation::Default)?;
        let given = execute_in(&tx, &change, &[Value::Int(4), Value::Int(to)]);
        given?;
        match execute_in(&tx, &change, &[Value::Int(-4), Value::Int(from)]) {
            // Some stop half way, and some have not enough.
            Ok(_) if step % 5 != 4 => sql::commit("", &tx)?,
            Ok(_) => sql::rollback("", &tx)?,
            Err(Error::Failed(_)) => {
                refusals += 1;
                sql::rollback("", &tx)?;
            }
            Err(error) => return Err(error.into()),
        }
        let sum = number(None, &format!("SELECT SUM(balance) FROM {name}"))?;
        equal("the sum", sum, 40)?;
    }
    equal("some transfers were refused", refusals > 0, true)
}
