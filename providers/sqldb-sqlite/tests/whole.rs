//! What is left of statements and transactions that do not come to their end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use lattice_core::link::LinkState;
use sqldb_sqlite::SqldbSqlite;
use support::{
    ConstraintKind, Error, Isolation, Lattice, Sql, a_statement_ends_with_its_transaction,
};

async fn start() -> (Lattice, Sql) {
    let mut lattice = Lattice::start::<SqldbSqlite>(&[]).await;
    let config = [("root", ":memory:")];
    let sql = lattice.link("shop", "default", &config).await;
    (lattice, sql)
}

/// Statements that SQLite breaks off with what they did before, each with its table.
const KEEPING: [(&str, &str); 4] = [
    ("o", "INSERT OR FAIL INTO o VALUES (50), (1), (51)"),
    (
        "o",
        "WITH n (a) AS (VALUES (50), (1), (51)) INSERT OR FAIL INTO o SELECT a FROM n",
    ),
    ("f", "INSERT INTO f VALUES (50), (1), (51)"),
    ("r", "INSERT INTO r VALUES (50), (1), (51)"),
];

async fn tables(sql: &Sql) {
    for statement in [
        "CREATE TABLE o (a INTEGER PRIMARY KEY)",
        "CREATE TABLE f (a INTEGER UNIQUE ON CONFLICT FAIL)",
        "CREATE TABLE r (a INTEGER)",
        "CREATE TRIGGER one BEFORE INSERT ON r WHEN NEW.a = 1 AND EXISTS (SELECT 1 FROM r WHERE a = 1) BEGIN SELECT RAISE(FAIL, 'one'); END",
        "INSERT INTO o VALUES (1)",
        "INSERT INTO f VALUES (1)",
        "INSERT INTO r VALUES (1)",
    ] {
        sql.execute(statement, &[]).await.unwrap();
    }
}

#[tokio::test]
async fn a_statement_that_fails_changes_nothing() {
    let (_lattice, sql) = &start().await;
    tables(sql).await;
    for (table, statement) in KEEPING {
        let count = format!("SELECT count(*) FROM {table}");
        let returning = format!("{statement} RETURNING a");
        for error in [
            sql.execute(statement, &[]).await.map(drop),
            sql.query(&returning, &[]).await.map(drop),
        ] {
            assert!(matches!(error, Err(Error::Failed(_))), "{error:?}");
            assert_eq!(sql.number(&count).await.unwrap(), 1, "{statement}");
        }
    }
    let done = sql.execute("INSERT OR FAIL INTO o VALUES (7), (8)", &[]);
    let done = done.await.unwrap();
    assert_eq!((done.affected, done.last_insert_id), (2, Some(8)));
}

#[tokio::test]
async fn a_statement_that_fails_changes_nothing_in_its_transaction() {
    let (_lattice, sql) = &start().await;
    tables(sql).await;
    for (table, statement) in KEEPING {
        let tx = sql.begin(Isolation::Default).await.unwrap();
        let insert = format!("INSERT INTO {table} VALUES (2)");
        sql.execute_in(Some(&tx), &insert, &[]).await.unwrap();
        let returning = format!("{statement} RETURNING a");
        for error in [
            sql.execute_in(Some(&tx), statement, &[]).await.map(drop),
            sql.query_in(&tx, &returning, &[]).await.map(drop),
        ] {
            assert!(matches!(error, Err(Error::Failed(_))), "{error:?}");
        }
        sql.commit(&tx).await.unwrap();
        let sum = format!("SELECT sum(a) FROM {table}");
        assert_eq!(sql.number(&sum).await.unwrap(), 3, "{statement}");
        let delete = format!("DELETE FROM {table} WHERE a = 2");
        sql.execute(&delete, &[]).await.unwrap();
    }
}

#[tokio::test]
async fn rows_of_a_write_are_read_to_their_end_in_a_transaction() {
    let (_lattice, sql) = &start().await;
    tables(sql).await;
    let tx = sql.begin(Isolation::Default).await.unwrap();
    let many = "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 60) INSERT INTO o SELECT i FROM n RETURNING a";
    let page = sql.query_page(Some(&tx), many, &[], 20).await.unwrap();
    let cursor = page.cursor.unwrap();
    let rest = sql.fetch(&cursor, 100).await.unwrap();
    assert_eq!((page.rows.len(), rest.rows.len()), (20, 39));
    // What fails after it is undone alone.
    let error = sql
        .execute_in(Some(&tx), KEEPING[0].1, &[])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Failed(_)), "{error:?}");
    sql.commit(&tx).await.unwrap();
    assert_eq!(sql.number("SELECT count(*) FROM o").await.unwrap(), 60);
}

#[tokio::test]
async fn many_rows_of_which_one_rolls_back_are_answered_with_its_error() {
    let (_lattice, sql) = &start().await;
    tables(sql).await;
    let tx = sql.begin(Isolation::Default).await.unwrap();
    let rows: Vec<_> = [2, 1].map(|a| vec![support::Value::Int(a)]).to_vec();
    let insert = "INSERT OR ROLLBACK INTO o VALUES (?)";
    let error = sql
        .execute_many(Some(&tx), insert, &rows)
        .await
        .unwrap_err();
    let Error::Failed(error) = error else {
        panic!("{error:?}");
    };
    assert_eq!(error.constraint.unwrap().kind, ConstraintKind::Unique);
    let error = sql.commit(&tx).await.unwrap_err();
    assert!(matches!(error, Error::TransactionGone), "{error:?}");
    assert_eq!(sql.number("SELECT count(*) FROM o").await.unwrap(), 1);
}

#[tokio::test]
async fn a_statement_is_broken_off_with_its_transaction() {
    let (_lattice, sql) = &start().await;
    let endless =
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    a_statement_ends_with_its_transaction(sql, endless).await;
}

#[tokio::test]
async fn what_is_told_is_what_there_is() {
    let (mut lattice, sql) = start().await;
    let told = [
        ("root", ":memory:"),
        ("require", "max-transactions=1, max-cursors=4"),
    ];
    lattice.link("shop", "told", &told).await;
    let more = [("root", ":memory:"), ("require", "max-transactions>=2")];
    lattice.put("shop", "more", &more).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("max-transactions>=2"), "{reason}");
    let error = sql.execute("SELECT 1 -- \0", &[]).await.unwrap_err();
    assert!(
        matches!(&error, Error::InvalidParameter(why) if why.contains("zero byte")),
        "{error:?}"
    );
}

#[tokio::test]
async fn what_was_inserted_last_is_that_of_the_statement() {
    let (_lattice, sql) = &start().await;
    for statement in [
        "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT UNIQUE, c INTEGER)",
        "CREATE TABLE log (a INTEGER PRIMARY KEY, t INTEGER)",
        "CREATE TABLE bare (a TEXT PRIMARY KEY) WITHOUT ROWID",
    ] {
        sql.execute(statement, &[]).await.unwrap();
    }
    let upsert = "INSERT INTO t (b, c) VALUES ('x', 1) ON CONFLICT (b) DO UPDATE SET c = c + 1";
    let mentions = "INSERT INTO log VALUES (7, last_insert_rowid())";
    let tx = sql.begin(Isolation::Default).await.unwrap();
    for (statement, affected, id) in [
        (upsert, 1, Some(1)),
        ("INSERT INTO log (a) VALUES (40)", 1, Some(40)),
        // It updates.
        (upsert, 1, None),
        ("INSERT OR IGNORE INTO t (b) VALUES ('x')", 0, None),
        ("INSERT INTO bare VALUES ('x')", 1, None),
        // To SQLite nothing was inserted since.
        (mentions, 1, Some(7)),
        ("REPLACE INTO t (a, b) VALUES (9, 'x')", 1, Some(9)),
    ] {
        let done = sql.execute_in(Some(&tx), statement, &[]).await.unwrap();
        assert_eq!(
            (done.affected, done.last_insert_id),
            (affected, id),
            "{statement}"
        );
    }
    sql.commit(&tx).await.unwrap();
    let mentioned = "SELECT t FROM log WHERE a = 7";
    assert_eq!(sql.number(mentioned).await.unwrap(), 40);
}

#[tokio::test]
async fn what_was_inserted_before_is_known_to_triggers_and_defaults() {
    let (_lattice, sql) = &start().await;
    for statement in [
        "CREATE TABLE head (a INTEGER PRIMARY KEY)",
        "CREATE TABLE line (a INTEGER PRIMARY KEY, head INTEGER DEFAULT (last_insert_rowid()))",
        "CREATE TABLE seen (a INTEGER PRIMARY KEY, head INTEGER, b TEXT UNIQUE)",
        "CREATE TRIGGER before_line BEFORE INSERT ON line BEGIN INSERT INTO seen (head) VALUES (last_insert_rowid()); END",
        "CREATE TRIGGER again AFTER UPDATE ON seen BEGIN INSERT INTO head VALUES (3); END",
        "CREATE VIRTUAL TABLE words USING fts5 (b)",
        "CREATE VIEW lines AS SELECT * FROM line",
        "CREATE TRIGGER through INSTEAD OF INSERT ON lines BEGIN INSERT INTO line (a, head) VALUES (NEW.a, last_insert_rowid()); END",
    ] {
        sql.execute(statement, &[]).await.unwrap();
    }
    let upsert = "INSERT INTO seen (b) VALUES ('x') ON CONFLICT (b) DO UPDATE SET head = 0";
    let tx = sql.begin(Isolation::Default).await.unwrap();
    for (statement, id) in [
        ("INSERT INTO head VALUES (40)", Some(40)),
        ("INSERT INTO line (a) VALUES (8)", Some(8)),
        // A view has no rows of its own.
        ("INSERT INTO lines (a) VALUES (9)", None),
        // Another row of the same id as the last one.
        ("INSERT INTO head VALUES (8)", Some(8)),
        ("INSERT INTO words (rowid, b) VALUES (8, 'x')", Some(8)),
        (upsert, Some(3)),
        // It updates, and its trigger inserts a row of the same id as the last one.
        (upsert, None),
    ] {
        let done = sql.execute_in(Some(&tx), statement, &[]).await.unwrap();
        assert_eq!(done.last_insert_id, id, "{statement}");
    }
    sql.commit(&tx).await.unwrap();
    for (asked, wanted) in [
        ("SELECT head FROM line WHERE a = 8", 40),
        ("SELECT head FROM line WHERE a = 9", 8),
        ("SELECT head FROM seen WHERE a = 1", 40),
        ("SELECT count(*) FROM head", 3),
    ] {
        assert_eq!(sql.number(asked).await.unwrap(), wanted, "{asked}");
    }
}
