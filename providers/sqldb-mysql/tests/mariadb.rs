//! What is particular to MariaDB, and what only shows from outside of a component.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../sqldb-sqlite/tests/support/mod.rs"]
mod support;

use std::time::Duration;

use lattice_core::link::LinkState;
use lattice_services::{Kind, Service};
use sqldb_mysql::SqldbMysql;
use support::{
    ConstraintKind, Error, Isolation, Lattice, PATIENCE, SUM, Sql, Value, a_million_rows_in_pages,
    a_write_answers_too_much, count_at_once, open_accounts, sum_of, text, transfers_that_die,
};
use tokio::time::Instant;

async fn start(config: &[(&str, &str)]) -> (Service, Lattice, Sql) {
    let mariadb = Service::start(Kind::MariaDb).await.unwrap();
    let mut lattice = Lattice::start::<SqldbMysql>(&[]).await;
    let url = mariadb.url();
    let config: Vec<_> = [("url", url.as_str())]
        .iter()
        .chain(config)
        .copied()
        .collect();
    let sql = lattice.link("shop", "default", &config).await;
    (mariadb, lattice, sql)
}

async fn values(sql: &Sql) {
    let create = "CREATE TABLE v (a BOOLEAN, b BIGINT, c DOUBLE, d DECIMAL(30, 10), e TEXT, f BLOB, g DATE, h TIME(6), i DATETIME(6), j TIMESTAMP(6) NULL, k UUID, l JSON, m BIGINT UNSIGNED, n YEAR, o BIT(12), p FLOAT, q ENUM('x', 'y'), r TIME)";
    sql.execute(create, &[]).await.unwrap();
    let row = vec![
        Value::Boolean(true),
        Value::Int(i64::MIN),
        Value::Float(0.1),
        Value::Decimal("-12345678901234567890.0123456789".into()),
        text("it's; DROP TABLE v -- ü $1 ? \\' \""),
        Value::Bytes(vec![0, 255].into()),
        Value::Date("2024-02-29".into()),
        Value::Time("23:59:59.5".into()),
        Value::Timestamp("1999-12-31T23:59:59.000001".into()),
        Value::Timestamp("2024-02-29T12:00:00Z".into()),
        text("6f2c1a34-1111-4222-8333-444455556666"),
        text("{\"a\": [1]}"),
        Value::Decimal(u64::MAX.to_string()),
        Value::Int(2024),
        Value::Int(0b1010_1010_1010),
        Value::Float(0.1),
        text("y"),
        Value::Other(("time".into(), "-100:00:01".into())),
    ];
    let marks: Vec<_> = (0..row.len()).map(|_| "?").collect();
    let insert = format!("INSERT INTO v VALUES ({})", marks.join(", "));
    sql.execute(&insert, &row).await.unwrap();
    let rows = sql.query("SELECT * FROM v", &[]).await.unwrap();
    assert_eq!(format!("{rows:?}"), format!("{:?}", vec![row]));
}

async fn constraints(sql: &Sql) {
    let create = "CREATE TABLE c (a INT PRIMARY KEY AUTO_INCREMENT, b VARCHAR(9), c INT NOT NULL, d INT, CONSTRAINT one_b UNIQUE (b), CONSTRAINT positive CHECK (c > 0), CONSTRAINT parent FOREIGN KEY (d) REFERENCES c (a))";
    sql.execute(create, &[]).await.unwrap();
    let done = sql
        .execute("INSERT INTO c (b, c) VALUES ('x', 1)", &[])
        .await
        .unwrap();
    assert_eq!((done.affected, done.last_insert_id), (1, Some(1)));
    for (values, kind, name) in [
        ("2, 'x', 1, NULL", ConstraintKind::Unique, "one_b"),
        ("2, 'y', NULL, NULL", ConstraintKind::NotNull, "c"),
        ("2, 'y', 0, NULL", ConstraintKind::Check, "positive"),
        ("2, 'y', 1, 7", ConstraintKind::ForeignKey, "parent"),
    ] {
        let insert = format!("INSERT INTO c VALUES ({values})");
        let Err(Error::Failed(error)) = sql.execute(&insert, &[]).await else {
            panic!("{values} is refused");
        };
        let constraint = error.constraint.unwrap();
        assert_eq!(constraint.kind, kind, "{values}");
        assert_eq!(constraint.name.as_deref(), Some(name), "{values}");
    }
}

async fn transactions(sql: &Sql) {
    sql.execute("CREATE TABLE t (a BIGINT PRIMARY KEY, b BIGINT)", &[])
        .await
        .unwrap();
    let rows: Vec<_> = [1, 2].map(|a| vec![Value::Int(a), Value::Int(0)]).to_vec();
    sql.execute_many(None, "INSERT INTO t VALUES (?, ?)", &rows)
        .await
        .unwrap();
    // A deadlock.
    let one = sql.begin(Isolation::Default).await.unwrap();
    let two = sql.begin(Isolation::Default).await.unwrap();
    let add = |a: i64| format!("UPDATE t SET b = b + 1 WHERE a = {a}");
    sql.execute_in(Some(&one), &add(1), &[]).await.unwrap();
    sql.execute_in(Some(&two), &add(2), &[]).await.unwrap();
    let (first, second) = (add(2), add(1));
    let (came, went) = tokio::join!(
        sql.execute_in(Some(&one), &first, &[]),
        sql.execute_in(Some(&two), &second, &[])
    );
    let (lost, kept) = if came.is_err() {
        (&one, &two)
    } else {
        (&two, &one)
    };
    let error = came.err().or(went.err()).unwrap();
    assert!(matches!(error, Error::TryAgain(_)), "{error:?}");
    // What the deadlock ended takes no further statement, which would be one of its own.
    let error = sql.execute_in(Some(lost), &add(1), &[]).await.unwrap_err();
    assert!(matches!(error, Error::TransactionGone), "{error:?}");
    sql.rollback(lost).await.unwrap();
    sql.commit(kept).await.unwrap();
    assert_eq!(sql.number("SELECT SUM(b) FROM t").await.unwrap(), 2);
    // A table would end the transaction.
    let tx = sql.begin(Isolation::Default).await.unwrap();
    let error = sql
        .execute_in(Some(&tx), "CREATE TABLE u (a INT)", &[])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::InvalidParameter(_)), "{error:?}");
    sql.rollback(&tx).await.unwrap();
}

async fn pages(sql: &Sql) {
    a_million_rows_in_pages(sql, "SELECT seq, REPEAT('x', 100) FROM seq_1_to_1000000").await;
}

async fn writes_that_answer_much(sql: &Sql) {
    sql.execute("CREATE TABLE long_rows (a LONGTEXT)", &[])
        .await
        .unwrap();
    let insert = "INSERT INTO long_rows SELECT REPEAT('x', 1000000) FROM seq_1_to_20";
    a_write_answers_too_much(sql, insert).await;
}

/// What one call does to its connection, no other meets.
async fn connections_are_clean(sql: &Sql) {
    sql.execute("SET @mine = 1, time_zone = '+05:00'", &[])
        .await
        .unwrap();
    sql.execute("CREATE TEMPORARY TABLE mine (a INT)", &[])
        .await
        .unwrap();
    for _ in 0..20 {
        let zone = sql.query("SELECT @@time_zone", &[]).await.unwrap();
        assert_eq!(format!("{zone:?}"), format!("{:?}", [[text("+00:00")]]));
        assert!(sql.query("SELECT * FROM mine", &[]).await.is_err());
    }
    let other = sql.execute_on("logs", "CREATE TABLE there (a INT)").await;
    assert!(matches!(other, Err(Error::NoSuchDatabase)), "{other:?}");
    sql.execute("CREATE DATABASE logs", &[]).await.unwrap();
    sql.execute_on("logs", "CREATE TABLE there (a INT)")
        .await
        .unwrap();
    assert!(sql.query("SELECT * FROM there", &[]).await.is_err());
}

#[tokio::test]
async fn statements_do_what_they_say() {
    let (_mariadb, _lattice, sql) = &start(&[("databases", "logs")]).await;
    values(sql).await;
    constraints(sql).await;
    transactions(sql).await;
    connections_are_clean(sql).await;
    writes_that_answer_much(sql).await;
    pages(sql).await;
}

#[tokio::test]
async fn nothing_is_lost_and_nothing_stays_open() {
    let (_mariadb, lattice, sql) = &mut start(&[("transaction_idle_ms", "100")]).await;
    open_accounts(sql).await;
    transfers_that_die(sql, 24).await;
    assert_eq!(sum_of(sql).await, SUM);
    let open = "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id <> connection_id()";
    let closed = async { while sql.number(open).await.unwrap() != 0 {} };
    tokio::time::timeout(PATIENCE, closed).await.unwrap();
    count_at_once(sql, 64).await;
    // What is still running ends with its call.
    let hasty = lattice.hasty("shop", "default", Duration::from_millis(500));
    let error = hasty.query("SELECT SLEEP(60)", &[]).await.unwrap_err();
    assert!(matches!(error, Error::Timeout), "{error:?}");
    let running =
        "SELECT count(*) FROM information_schema.processlist WHERE info = 'SELECT SLEEP(60)'";
    let ended = async { while sql.number(running).await.unwrap() != 0 {} };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
}

#[tokio::test]
async fn a_server_that_goes_away_is_an_error_until_it_is_back() {
    let (mariadb, lattice, sql) = &mut start(&[("connect_timeout_ms", "500")]).await;
    sql.execute("CREATE TABLE t (a INT)", &[]).await.unwrap();
    let tx = sql.begin(Isolation::Default).await.unwrap();
    mariadb.kill();
    let begun = Instant::now();
    let error = sql
        .execute_in(Some(&tx), "INSERT INTO t VALUES (1)", &[])
        .await;
    assert!(matches!(error, Err(Error::Unavailable(_))), "{error:?}");
    for _ in 0..5 {
        let error = sql.query("SELECT 1", &[]).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(4));
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains(&mariadb.port().to_string()), "{reason}");
    mariadb.start_again().await.unwrap();
    let back = async { while sql.query("SELECT 1", &[]).await.is_err() {} };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
    assert_eq!(sql.number("SELECT count(*) FROM t").await.unwrap(), 0);
    lattice.report_of(LinkState::Ready).await;
    // A server that is silent is none either.
    let hasty = lattice.hasty("shop", "default", Duration::from_secs(1));
    mariadb.freeze().unwrap();
    let begun = Instant::now();
    let error = hasty.query("SELECT 1", &[]).await.unwrap_err();
    let is_typed = matches!(error, Error::Timeout | Error::Unavailable(_));
    assert!(is_typed, "{error:?}");
    assert!(begun.elapsed() < Duration::from_millis(1500));
    mariadb.thaw().unwrap();
    let back = async { while sql.query("SELECT 1", &[]).await.is_err() {} };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
}

#[tokio::test]
async fn connections_have_an_end_and_logins_are_checked() {
    let config = [("pool_size", "2"), ("pool_wait_ms", "300")];
    let (mariadb, lattice, sql) = &mut start(&config).await;
    let one = sql.begin(Isolation::Default).await.unwrap();
    let two = sql.begin(Isolation::Default).await.unwrap();
    let error = sql.query("SELECT 1", &[]).await.unwrap_err();
    assert!(
        matches!(&error, Error::Busy(why) if why.contains("pool_size")),
        "{error:?}"
    );
    sql.rollback(&one).await.unwrap();
    sql.rollback(&two).await.unwrap();
    let port = mariadb.port().to_string();
    let keys = [
        ("MYSQL_HOST", "127.0.0.1"),
        ("MYSQL_PORT", &port),
        ("MYSQL_USERNAME", "lattice"),
        ("MYSQL_PASSWORD", "sesame"),
        ("MYSQL_DATABASE", "lattice"),
    ];
    let begun = Instant::now();
    let clerk = lattice.put("shop", "clerk", &keys).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(reason.contains("Access denied for user"), "{reason}");
    assert!(!reason.contains("sesame"), "{reason}");
    sql.execute("SET PASSWORD = PASSWORD('sesame')", &[])
        .await
        .unwrap();
    lattice.report_of(LinkState::Ready).await;
    clerk.query("SELECT 1", &[]).await.unwrap();
}
