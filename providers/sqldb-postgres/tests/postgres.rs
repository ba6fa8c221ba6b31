//! What is particular to PostgreSQL, and what only shows from outside of a component.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../sqldb-sqlite/tests/support/mod.rs"]
mod support;

#[path = "values/others.rs"]
mod others;

#[path = "postgres/logins.rs"]
mod logins;

use std::time::Duration;

use lattice_core::link::LinkState;
use lattice_services::{Kind, Service};
use sqldb_postgres::SqldbPostgres;
use support::{
    ConstraintKind, Error, Isolation, Lattice, PATIENCE, SUM, Sql, Value, a_million_rows_in_pages,
    a_write_answers_too_much, count_at_once, open_accounts, sum_of, text, transfers_that_die,
};
use tokio::time::Instant;

async fn start(config: &[(&str, &str)]) -> (Service, Lattice, Sql) {
    let postgres = Service::start(Kind::Postgres).await.unwrap();
    let mut lattice = Lattice::start::<SqldbPostgres>(&[]).await;
    let url = postgres.url();
    let config: Vec<_> = [("url", url.as_str())]
        .iter()
        .chain(config)
        .copied()
        .collect();
    let sql = lattice.link("shop", "default", &config).await;
    (postgres, lattice, sql)
}

async fn values(sql: &Sql) {
    let create = "CREATE TABLE v (a BOOLEAN, b BIGINT, c DOUBLE PRECISION, d NUMERIC(30, 10), e TEXT, f BYTEA, g DATE, h TIME, i TIMESTAMP, j TIMESTAMPTZ, k UUID, l JSONB, m INTERVAL, n INT[], o INET, p REAL, q NUMRANGE)";
    sql.execute(create, &[]).await.unwrap();
    let other = |name: &str, text: &str| Value::Other((name.to_owned(), text.to_owned()));
    let mut row = vec![
        Value::Boolean(true),
        Value::Int(i64::MIN),
        Value::Float(0.1),
        Value::Decimal("-12345678901234567890.0123456789".into()),
        text("it's; DROP TABLE v -- ü $1 ?"),
        Value::Bytes(vec![0, 255].into()),
        Value::Date("2024-02-29".into()),
        Value::Time("23:59:59.5".into()),
        Value::Timestamp("0099-02-28T12:00:00.000001".into()),
        Value::Timestamp("2024-02-29T12:00:00Z".into()),
        Value::Uuid("6f2c1a34-1111-4222-8333-444455556666".into()),
        Value::Json("{\"a\": [1]}".into()),
        other("interval", "1 year 2 mons 3 days -00:00:01.5"),
        other("_int4", "{1,2}"),
        other("inet", "10.0.0.0/8"),
        Value::Float(0.1),
        Value::Null,
    ];
    let marks: Vec<_> = (0..row.len()).map(|_| "?").collect();
    let insert = format!("INSERT INTO v VALUES ({})", marks.join(", "));
    sql.execute(&insert, &row).await.unwrap();
    let rows = sql.query("SELECT * FROM v", &[]).await.unwrap();
    assert_eq!(format!("{rows:?}"), format!("{:?}", vec![row.clone()]));
    row[16] = other("numrange", "[1,2)");
    sql.execute(&insert, &row).await.unwrap();
    let rows = sql.query("SELECT * FROM v WHERE q IS NOT NULL", &[]);
    assert_eq!(format!("{:?}", rows.await.unwrap()), format!("{:?}", [row]));
    // Operators that look like placeholders.
    let found = sql
        .query("SELECT b FROM v WHERE l ?? ? AND q IS NULL", &[text("a")])
        .await;
    assert_eq!(found.unwrap().len(), 1);
}

/// What has no case of its own comes as the server itself would write it.
async fn values_of_other_types(sql: &Sql) {
    for statement in [
        "CREATE TYPE mood AS ENUM ('sad', 'so so')",
        "CREATE DOMAIN whole AS INT CHECK (VALUE > 0)",
        "CREATE TYPE pair AS (a whole, b mood, c TEXT[])",
        "CREATE DOMAIN pairs AS pair",
    ] {
        sql.execute(statement, &[]).await.unwrap();
    }
    let mut others = Vec::new();
    for expression in others::EXPRESSIONS {
        let select = format!("SELECT {expression}, format('%s', {expression})");
        let rows = sql.query(&select, &[]).await;
        let is_same = matches!(
            rows.as_ref().map(|rows| &rows[0][..]),
            Ok([Value::Other((_, came)), Value::Text(wanted)]) if came == wanted
        );
        if !is_same {
            others.push(format!("{expression}: {rows:?}"));
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
    let rows = sql.query("SELECT ARRAY['2024-02-29 12:00+02'::timestamptz], pg_sleep(0), 'so so'::mood, 5::whole, NULL::pair", &[]);
    let other = |name: &str, text: &str| Value::Other((name.to_owned(), text.to_owned()));
    let wanted = [
        other("_timestamptz", "{\"2024-02-29 10:00:00+00\"}"),
        other("void", ""),
        text("so so"),
        Value::Int(5),
        Value::Null,
    ];
    assert_eq!(
        format!("{:?}", rows.await.unwrap()),
        format!("{:?}", [wanted])
    );
    // Only the server knows what a number of its own tables is called.
    for (expression, why) in [
        ("'pg_class'::regclass", "`regclass`"),
        ("ROW('sad'::mood)", "not built in"),
    ] {
        let select = format!("SELECT {expression} AS odd");
        let error = sql.query(&select, &[]).await.unwrap_err();
        let is_named =
            matches!(&error, Error::Other(text) if text.contains("`odd`") && text.contains(why));
        assert!(is_named, "{expression}: {error:?}");
    }
}

async fn constraints(sql: &Sql) {
    let create = "CREATE TABLE c (a INT PRIMARY KEY, b TEXT CONSTRAINT one_b UNIQUE, c INT NOT NULL CONSTRAINT positive CHECK (c > 0), d INT CONSTRAINT parent REFERENCES c (a))";
    sql.execute(create, &[]).await.unwrap();
    sql.execute("INSERT INTO c VALUES (1, 'x', 1, NULL)", &[])
        .await
        .unwrap();
    for (values, code, kind, name) in [
        ("2, 'x', 1, NULL", "23505", ConstraintKind::Unique, "one_b"),
        ("2, 'y', NULL, NULL", "23502", ConstraintKind::NotNull, "c"),
        (
            "2, 'y', 0, NULL",
            "23514",
            ConstraintKind::Check,
            "positive",
        ),
        (
            "2, 'y', 1, 7",
            "23503",
            ConstraintKind::ForeignKey,
            "parent",
        ),
    ] {
        let insert = format!("INSERT INTO c VALUES ({values})");
        let Err(Error::Failed(error)) = sql.execute(&insert, &[]).await else {
            panic!("{values} is refused");
        };
        let constraint = error.constraint.unwrap();
        assert_eq!(
            (error.code.as_str(), constraint.kind),
            (code, kind),
            "{values}"
        );
        assert_eq!(constraint.name.as_deref(), Some(name), "{values}");
    }
}

async fn pages(sql: &Sql) {
    a_million_rows_in_pages(
        sql,
        "SELECT i, repeat('x', 100) FROM generate_series(1, 1000000) AS i",
    )
    .await;
}

async fn writes_that_answer_much(sql: &Sql) {
    sql.execute("CREATE TABLE long_rows (a TEXT)", &[])
        .await
        .unwrap();
    let insert = "INSERT INTO long_rows SELECT repeat('x', 1000000) FROM generate_series(1, 20)";
    a_write_answers_too_much(sql, insert).await;
}

async fn transactions(sql: &Sql) {
    sql.execute("CREATE TABLE t (a BIGINT PRIMARY KEY, b BIGINT)", &[])
        .await
        .unwrap();
    sql.execute("INSERT INTO t VALUES (1, 0)", &[])
        .await
        .unwrap();
    // Two that each read what the other writes.
    let one = sql.begin(Isolation::Serializable).await.unwrap();
    let two = sql.begin(Isolation::Serializable).await.unwrap();
    for tx in [&one, &two] {
        sql.query_in(tx, "SELECT b FROM t WHERE a = 1", &[])
            .await
            .unwrap();
    }
    let add = "UPDATE t SET b = b + 1 WHERE a = 1";
    sql.execute_in(Some(&one), add, &[]).await.unwrap();
    sql.commit(&one).await.unwrap();
    let error = sql.execute_in(Some(&two), add, &[]).await.unwrap_err();
    assert!(
        matches!(&error, Error::TryAgain(e) if e.code == "40001"),
        "{error:?}"
    );
    let error = sql.execute_in(Some(&two), add, &[]).await.unwrap_err();
    assert!(matches!(error, Error::TransactionGone), "{error:?}");
    sql.rollback(&two).await.unwrap();
    // One in which a statement failed does not take effect.
    let tx = sql.begin(Isolation::Default).await.unwrap();
    sql.execute_in(Some(&tx), add, &[]).await.unwrap();
    let again = sql
        .execute_in(Some(&tx), "INSERT INTO t VALUES (1, 0)", &[])
        .await;
    assert!(matches!(again, Err(Error::Failed(_))), "{again:?}");
    let error = sql.commit(&tx).await.unwrap_err();
    assert!(
        matches!(&error, Error::Failed(e) if e.code == "25P02"),
        "{error:?}"
    );
    assert_eq!(sql.number("SELECT b FROM t WHERE a = 1").await.unwrap(), 1);
    // All or nothing, also inside of another one.
    let rows: Vec<_> = [5, 6, 5].map(|a| vec![Value::Int(a)]).to_vec();
    let insert = "INSERT INTO t VALUES (?, 0)";
    assert!(sql.execute_many(None, insert, &rows).await.is_err());
    let tx = sql.begin(Isolation::Default).await.unwrap();
    sql.execute_in(Some(&tx), "INSERT INTO t VALUES (9, 0)", &[])
        .await
        .unwrap();
    assert!(sql.execute_many(Some(&tx), insert, &rows).await.is_err());
    assert_eq!(
        sql.execute_many(Some(&tx), insert, &rows[..2])
            .await
            .unwrap()
            .affected,
        2
    );
    sql.commit(&tx).await.unwrap();
    assert_eq!(sql.number("SELECT count(*) FROM t").await.unwrap(), 4);
}

/// Several cursors and statements in one transaction.
async fn cursors_in_transactions(sql: &Sql) {
    let tx = sql.begin(Isolation::Default).await.unwrap();
    let numbers = "SELECT i FROM generate_series(1, 50) AS i";
    let first = sql.query_page(Some(&tx), numbers, &[], 10).await.unwrap();
    let second = sql.query_page(Some(&tx), numbers, &[], 20).await.unwrap();
    let third = sql.query_page(Some(&tx), numbers, &[], 30).await.unwrap();
    sql.execute_in(Some(&tx), "CREATE TABLE w (a INT)", &[])
        .await
        .unwrap();
    let mut seen = Vec::new();
    for page in [first, second, third] {
        let rest = sql.fetch(&page.cursor.unwrap(), 100).await.unwrap();
        assert_eq!(rest.cursor, None);
        seen.push(page.rows.len() + rest.rows.len());
    }
    assert_eq!(seen, [50, 50, 50]);
    let open = sql.query_page(Some(&tx), numbers, &[], 1).await.unwrap();
    sql.commit(&tx).await.unwrap();
    let error = sql.fetch(&open.cursor.unwrap(), 1).await.unwrap_err();
    assert!(matches!(error, Error::CursorGone), "{error:?}");
    // A row that fails undoes the transaction, whether somebody reads it or not.
    let failing = "SELECT 1 / (5000 - i) FROM generate_series(1, 10000) AS i";
    for is_closed in [false, true] {
        let tx = sql.begin(Isolation::Default).await.unwrap();
        sql.execute_in(Some(&tx), "INSERT INTO w VALUES (1)", &[])
            .await
            .unwrap();
        let open = sql.query_page(Some(&tx), failing, &[], 10).await.unwrap();
        if is_closed {
            let error = sql.close(&open.cursor.unwrap()).await.unwrap_err();
            assert!(
                matches!(&error, Error::Failed(e) if e.code == "22012"),
                "{error:?}"
            );
        }
        let code = if is_closed { "25P02" } else { "22012" };
        let error = sql.commit(&tx).await.unwrap_err();
        assert!(
            matches!(&error, Error::Failed(e) if e.code == code),
            "{error:?}"
        );
        assert_eq!(sql.number("SELECT count(*) FROM w").await.unwrap(), 0);
    }
    let tx = sql.begin(Isolation::Default).await.unwrap();
    sql.query_page(Some(&tx), failing, &[], 10).await.unwrap();
    sql.rollback(&tx).await.unwrap();
    let open = sql.query_page(None, failing, &[], 10).await.unwrap();
    sql.close(&open.cursor.unwrap()).await.unwrap();
}

/// What one call does to its connection, no other meets.
async fn connections_are_clean(sql: &Sql) {
    sql.execute("SET search_path TO nowhere", &[])
        .await
        .unwrap();
    sql.execute("CREATE TEMP TABLE mine (a INT)", &[])
        .await
        .unwrap();
    for _ in 0..20 {
        assert_eq!(sql.number("SELECT count(*) FROM c").await.unwrap(), 1);
        let count = "SELECT count(*) FROM pg_class WHERE relname = 'mine'";
        let gone = async { while sql.number(count).await.unwrap() != 0 {} };
        tokio::time::timeout(PATIENCE, gone).await.unwrap();
    }
    // A plan goes with the table that it was made for.
    sql.execute("CREATE TABLE p (a INT)", &[]).await.unwrap();
    sql.query("SELECT * FROM p", &[]).await.unwrap();
    sql.execute("ALTER TABLE p ADD b INT", &[]).await.unwrap();
    for _ in 0..20 {
        sql.query("SELECT * FROM p", &[]).await.unwrap();
    }
    let error = sql.execute("COPY p FROM STDIN", &[]).await.unwrap_err();
    assert!(matches!(error, Error::InvalidParameter(_)), "{error:?}");
}

async fn databases(sql: &Sql) {
    sql.execute("CREATE DATABASE other", &[]).await.unwrap();
    sql.execute_on("logs", "CREATE TABLE only_there (a INT)")
        .await
        .unwrap();
    let here = sql
        .query("SELECT * FROM only_there", &[])
        .await
        .unwrap_err();
    assert!(
        matches!(&here, Error::Failed(e) if e.code == "42P01"),
        "{here:?}"
    );
    for name in ["missing", "unnamed"] {
        let error = sql.execute_on(name, "SELECT 1").await.unwrap_err();
        assert!(matches!(error, Error::NoSuchDatabase), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn statements_do_what_they_say() {
    let (_postgres, _lattice, sql) = &start(&[("databases", "logs=other, missing")]).await;
    values(sql).await;
    values_of_other_types(sql).await;
    constraints(sql).await;
    transactions(sql).await;
    cursors_in_transactions(sql).await;
    connections_are_clean(sql).await;
    databases(sql).await;
    writes_that_answer_much(sql).await;
    pages(sql).await;
}

#[tokio::test]
async fn nothing_is_lost_and_nothing_stays_open() {
    let (_postgres, lattice, sql) = &mut start(&[("transaction_idle_ms", "100")]).await;
    open_accounts(sql).await;
    transfers_that_die(sql, 24).await;
    assert_eq!(sum_of(sql).await, SUM);
    let open = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'";
    let closed = async { while sql.number(open).await.unwrap() != 0 {} };
    tokio::time::timeout(PATIENCE, closed).await.unwrap();
    count_at_once(sql, 64).await;
    // What is still running ends with its call.
    let hasty = lattice.hasty("shop", "default", Duration::from_millis(500));
    let error = hasty.query("SELECT pg_sleep(60)", &[]).await.unwrap_err();
    assert!(matches!(error, Error::Timeout), "{error:?}");
    let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)' AND state = 'active'";
    let ended = async { while sql.number(running).await.unwrap() != 0 {} };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    let tx = sql.begin(Isolation::Default).await.unwrap();
    sql.execute_in(Some(&tx), "UPDATE counter SET n = 0", &[])
        .await
        .unwrap();
    lattice.end_provider().await;
    let mut again = Lattice::start::<SqldbPostgres>(&[]).await;
    let sql = again
        .link("shop", "default", &[("url", &_postgres.url())])
        .await;
    assert_eq!(sql.number("SELECT n FROM counter").await.unwrap(), 64);
}

#[tokio::test]
async fn a_server_that_goes_away_is_an_error_until_it_is_back() {
    let (postgres, lattice, sql) = &mut start(&[("connect_timeout_ms", "500")]).await;
    sql.execute("CREATE TABLE t (a INT)", &[]).await.unwrap();
    let tx = sql.begin(Isolation::Default).await.unwrap();
    postgres.kill();
    let begun = Instant::now();
    // The server's part for a connection may live for a moment longer than the server.
    let error = loop {
        let insert = "INSERT INTO t VALUES (1)";
        if let Err(error) = sql.execute_in(Some(&tx), insert, &[]).await {
            break error;
        }
        assert!(begun.elapsed() < PATIENCE);
    };
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    for _ in 0..5 {
        let error = sql.query("SELECT 1", &[]).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(4));
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains(&postgres.port().to_string()), "{reason}");
    postgres.start_again().await.unwrap();
    let back = async { while sql.query("SELECT 1", &[]).await.is_err() {} };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
    assert_eq!(sql.number("SELECT count(*) FROM t").await.unwrap(), 0);
    lattice.report_of(LinkState::Ready).await;
    // A server that is silent is none either.
    let hasty = lattice.hasty("shop", "default", Duration::from_secs(1));
    let pids = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'";
    let pids = sql.query(pids, &[]).await.unwrap();
    let signal = |name: &str| {
        let pids = pids.iter().map(|row| match row[0] {
            Value::Int(pid) => pid.to_string(),
            _ => panic!("a process has a number"),
        });
        let sent = std::process::Command::new("kill")
            .arg(name)
            .args(pids)
            .status();
        assert!(sent.unwrap().success());
    };
    postgres.freeze().unwrap();
    signal("-STOP");
    let begun = Instant::now();
    let error = hasty.query("SELECT 1", &[]).await.unwrap_err();
    assert!(matches!(error, Error::Timeout), "{error:?}");
    assert!(begun.elapsed() < Duration::from_millis(1500));
    signal("-CONT");
    postgres.thaw().unwrap();
    let back = async { while sql.query("SELECT 1", &[]).await.is_err() {} };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
}
