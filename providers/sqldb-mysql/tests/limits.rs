//! Where statements and transactions of MariaDB have their end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../sqldb-sqlite/tests/support/mod.rs"]
mod support;

use std::time::Duration;

use lattice_core::link::LinkState;
use lattice_services::{Kind, Service};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use sqldb_mysql::SqldbMysql;
use support::{Error, Isolation, Lattice, Sql, Value, a_statement_ends_with_its_transaction, text};

async fn start() -> (Service, Lattice, Sql) {
    let mariadb = Service::start(Kind::MariaDb).await.unwrap();
    let mut lattice = Lattice::start::<SqldbMysql>(&[]).await;
    let url = mariadb.url();
    let sql = lattice.link("shop", "default", &[("url", &url)]).await;
    (mariadb, lattice, sql)
}

const COUNT: &str = "SELECT count(*) FROM acct";

/// A transaction that has written a row.
async fn written(sql: &Sql) -> String {
    let tx = sql.begin(Isolation::Default).await.unwrap();
    let insert = "INSERT INTO acct VALUES (1)";
    sql.execute_in(Some(&tx), insert, &[]).await.unwrap();
    tx
}

#[tokio::test]
async fn no_statement_commits_behind_our_back() {
    let (_mariadb, _lattice, sql) = &start().await;
    sql.execute("CREATE TABLE acct (a INT)", &[]).await.unwrap();
    for statement in [
        "check table acct",
        "/*M!100000 COMMIT */",
        "/*M! COMMIT */",
        "/*!50000 COMMIT */",
        "SET STATEMENT max_statement_time = 5 FOR COMMIT",
        "SET DEFAULT ROLE NONE",
        "SET PASSWORD = PASSWORD('')",
        "SET @a = 1, PASSWORD = PASSWORD('')",
        "SET `autocommit` = 1",
        "FLUSH STATUS",
        "RESET QUERY CACHE",
        "BACKUP LOCK acct",
        "CREATE TEMPORARY SEQUENCE s",
    ] {
        let tx = written(sql).await;
        let refused = sql.execute_in(Some(&tx), statement, &[]).await;
        let is_refused = matches!(refused, Err(Error::InvalidParameter(_)));
        assert!(is_refused, "{statement}: {refused:?}");
        sql.rollback(&tx).await.unwrap();
        assert_eq!(sql.number(COUNT).await.unwrap(), 0, "{statement}");
    }
    // What does not end it is taken.
    let tx = written(sql).await;
    for statement in [
        "SET ROLE NONE",
        "SET STATEMENT max_statement_time = 5 FOR INSERT INTO acct VALUES (2)",
        "CREATE TEMPORARY TABLE passing (a INT)",
    ] {
        sql.execute_in(Some(&tx), statement, &[]).await.unwrap();
    }
    let failed = sql.execute_in(Some(&tx), "SELECT nothing", &[]).await;
    assert!(matches!(failed, Err(Error::Failed(_))), "{failed:?}");
    sql.rollback(&tx).await.unwrap();
    assert_eq!(sql.number(COUNT).await.unwrap(), 0);
}

#[tokio::test]
async fn a_transaction_that_a_procedure_ended_is_gone() {
    let (_mariadb, _lattice, sql) = &start().await;
    for statement in [
        "CREATE TABLE acct (a INT)",
        "CREATE PROCEDURE quiet() BEGIN COMMIT; END",
        "CREATE PROCEDURE late() BEGIN SELECT 1; COMMIT; END",
        "CREATE PROCEDURE failing() BEGIN COMMIT; SIGNAL SQLSTATE '45000'; END",
    ] {
        sql.execute(statement, &[]).await.unwrap();
    }
    for (at, procedure) in ["quiet", "late", "failing"].into_iter().enumerate() {
        let tx = written(sql).await;
        let call = format!("CALL {procedure}()");
        let error = match procedure {
            "late" => sql.query_in(&tx, &call, &[]).await.map(drop),
            _ => sql.execute_in(Some(&tx), &call, &[]).await.map(drop),
        };
        let error = error.unwrap_err();
        let is_said = match &error {
            Error::Other(why) => why.contains("ended its transaction"),
            Error::Failed(_) => procedure == "failing",
            _ => false,
        };
        assert!(is_said, "{procedure}: {error:?}");
        let insert = "INSERT INTO acct VALUES (2)";
        let after = sql.execute_in(Some(&tx), insert, &[]).await.map(drop);
        let ended = match at {
            0 => sql.commit(&tx).await,
            _ => sql.rollback(&tx).await,
        };
        for error in [after, ended] {
            let is_gone = matches!(error, Err(Error::TransactionGone));
            assert!(is_gone, "{procedure}: {error:?}");
        }
        // What it committed, and nothing after it.
        let count = sql.number(COUNT).await.unwrap();
        assert_eq!(count, i64::try_from(at + 1).unwrap(), "{procedure}");
    }
}

#[tokio::test]
async fn a_statement_is_broken_off_with_its_transaction() {
    let (_mariadb, _lattice, sql) = &start().await;
    a_statement_ends_with_its_transaction(sql, "SELECT SLEEP(20)").await;
}

#[tokio::test]
async fn what_the_server_does_not_take_is_refused() {
    let (mariadb, mut lattice, sql) = start().await;
    let long = [Value::Bytes(vec![b'x'; 17 << 20].into())];
    let error = sql.query("SELECT LENGTH(?)", &long).await.unwrap_err();
    assert!(
        matches!(&error, Error::InvalidParameter(why) if why.contains("max_allowed_packet")),
        "{error:?}"
    );
    let local = "LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE t";
    for (statement, why) in [(local, "LOAD"), ("SELECT '\0'", "zero byte")] {
        let error = sql.execute(statement, &[]).await.unwrap_err();
        assert!(
            matches!(&error, Error::InvalidParameter(text) if text.contains(why)),
            "{error:?}"
        );
    }
    sql.query("SELECT ?", &[text("as before")]).await.unwrap();
    let url = mariadb.url();
    let told = [
        ("url", url.as_str()),
        ("require", "max-transactions=16, max-cursors=16"),
    ];
    lattice.link("shop", "told", &told).await;
    let more = [("url", url.as_str()), ("require", "max-transactions=64")];
    lattice.put("shop", "more", &more).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("max-transactions=16"), "{reason}");
}

#[tokio::test]
async fn decimals_are_reckoned_with_to_the_last_digit() {
    let (_mariadb, _lattice, sql) = &start().await;
    let create = "CREATE TABLE d (a DECIMAL(30, 10), b BIGINT UNSIGNED)";
    sql.execute(create, &[]).await.unwrap();
    let decimals = |a: &str, b: &str| [a, b].map(|text| Value::Decimal(text.to_owned()));
    let row = decimals("12345678901234567890.0123456789", "18446744073709551610");
    sql.execute("INSERT INTO d VALUES (?, ?)", &row)
        .await
        .unwrap();
    let add = "UPDATE d SET a = a + ?, b = b + ?";
    let more = decimals("0.0000000001", "5");
    sql.execute(add, &more).await.unwrap();
    let rows = sql.query("SELECT a, b FROM d", &[]).await.unwrap();
    let wanted = [decimals(
        "12345678901234567890.0123456790",
        "18446744073709551615",
    )];
    assert_eq!(format!("{rows:?}"), format!("{wanted:?}"));
}

#[tokio::test]
async fn whole_decimals_are_no_numbers_of_64_bits() {
    let (_mariadb, _lattice, sql) = &start().await;
    let decimal = |text: &str| Value::Decimal(text.to_owned());
    let create = "CREATE TABLE w (qty BIGINT UNSIGNED, big BIGINT)";
    sql.execute(create, &[]).await.unwrap();
    let row = [Value::Int(5), Value::Int(i64::MAX)];
    sql.execute("INSERT INTO w VALUES (?, ?)", &row)
        .await
        .unwrap();
    let reckon = "SELECT qty - ?, big * ? FROM w LIMIT ?";
    let values = ["10", "4", "1"].map(decimal);
    let rows = sql.query(reckon, &values).await.unwrap();
    let wanted = [["-5", "36893488147419103228"].map(decimal)];
    assert_eq!(format!("{rows:?}"), format!("{wanted:?}"));
}

#[tokio::test]
async fn decimals_of_several_rows_are_kept_as_they_were_written() {
    let (_mariadb, _lattice, sql) = &start().await;
    let create = "CREATE TABLE k (a INT, b VARCHAR(20))";
    sql.execute(create, &[]).await.unwrap();
    let decimal = |text: &str| Value::Decimal(text.to_owned());
    let values = [decimal("1.5"), decimal("0.125"), Value::Int(7)];
    let rows = (1..).zip(values);
    let rows: Vec<_> = rows
        .map(|(at, value)| vec![Value::Int(at), value])
        .collect();
    let insert = "INSERT INTO k VALUES (?, ?)";
    let done = sql.execute_many(None, insert, &rows).await.unwrap();
    assert_eq!(done.affected, 3);
    let kept = sql.query("SELECT b FROM k ORDER BY a", &[]).await.unwrap();
    let wanted = ["1.5", "0.125", "7"].map(|kept| [text(kept)]);
    assert_eq!(format!("{kept:?}"), format!("{wanted:?}"));
}

#[tokio::test]
async fn a_time_that_does_not_exist_is_refused() {
    let (_mariadb, _lattice, sql) = &start().await;
    sql.execute("CREATE TABLE m (a DATETIME)", &[])
        .await
        .unwrap();
    let insert = "INSERT INTO m VALUES (?)";
    for odd in ["2023-02-29T12:00:00Z", "2024-01-01T24:00:00Z"] {
        let odd = [Value::Timestamp(odd.to_owned())];
        let refused = sql.execute(insert, &odd).await;
        assert!(matches!(refused, Err(Error::Failed(_))), "{refused:?}");
    }
    let last = [Value::Timestamp("2024-02-29T23:30:00-01:00".to_owned())];
    sql.execute(insert, &last).await.unwrap();
    let kept = sql.query("SELECT a FROM m", &[]).await.unwrap();
    let wanted = [[Value::Timestamp("2024-03-01T00:30:00".to_owned())]];
    assert_eq!(format!("{kept:?}"), format!("{wanted:?}"));
}

#[tokio::test]
async fn a_server_that_leaves_transactions_open_is_told_not_to() {
    let mariadb = Service::start(Kind::MariaDb).await.unwrap();
    let url = mariadb.url();
    let mut other = Conn::from_url(&url).await.unwrap();
    let set = "SET GLOBAL autocommit = 0, GLOBAL completion_type = 'CHAIN'";
    other.query_drop(set).await.unwrap();
    let mut lattice = Lattice::start::<SqldbMysql>(&[]).await;
    let config = [("url", url.as_str()), ("pool_size", "1")];
    let sql = lattice.link("shop", "default", &config).await;
    sql.execute("CREATE TABLE acct (a INT)", &[]).await.unwrap();
    let insert = "INSERT INTO acct VALUES (1)";
    let tx = written(&sql).await;
    sql.commit(&tx).await.unwrap();
    sql.execute(insert, &[]).await.unwrap();
    let seen: Option<i64> = other.query_first(COUNT).await.unwrap();
    assert_eq!(seen, Some(2));
    let apart = "SELECT @@lock_wait_timeout - @@innodb_lock_wait_timeout";
    assert_eq!(sql.number(apart).await.unwrap(), 0);
    other.disconnect().await.unwrap();
}

#[tokio::test]
async fn databases_that_are_none_take_no_place() {
    let mariadb = Service::start(Kind::MariaDb).await.unwrap();
    let mut lattice = Lattice::start::<SqldbMysql>(&[]).await;
    let url = mariadb.url();
    let config = [("url", url.as_str()), ("databases", "*")];
    let sql = lattice.link("shop", "default", &config).await;
    for number in 0..20 {
        let name = format!("none{number}");
        let error = sql.execute_on(&name, "SELECT 1").await.unwrap_err();
        assert!(matches!(error, Error::NoSuchDatabase), "{name}: {error:?}");
    }
    sql.execute("CREATE DATABASE other", &[]).await.unwrap();
    sql.execute_on("other", "SELECT 1").await.unwrap();
}

#[tokio::test]
async fn the_server_ends_what_we_cannot_end() {
    let (_mariadb, _lattice, sql) = &start().await;
    let longest = "SELECT CAST(@@max_statement_time AS SIGNED)";
    assert_eq!(sql.number(longest).await.unwrap(), 30 + 600 + 5);
}

/// Asks until the number is as it should be.
async fn until(other: &mut Conn, query: &str, is_right: impl Fn(i64) -> bool) {
    let asked = async {
        while !is_right(other.query_first(query).await.unwrap().unwrap()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let asked = tokio::time::timeout(Duration::from_secs(30), asked).await;
    asked.unwrap();
}

#[tokio::test]
async fn a_statement_is_ended_though_the_server_has_no_connection_to_spare_at_first() {
    let mariadb = Service::start(Kind::MariaDb).await.unwrap();
    let url = mariadb.url();
    let mut other = Conn::from_url(&url).await.unwrap();
    let few = "SET GLOBAL max_connections = 10";
    other.query_drop(few).await.unwrap();
    let mut lattice = Lattice::start::<SqldbMysql>(&[]).await;
    let config = [
        ("url", url.as_str()),
        ("pool_size", "1"),
        ("statement_timeout_ms", "2000"),
    ];
    let sql = lattice.link("shop", "default", &config).await;
    sql.number("SELECT 1").await.unwrap();
    let mut full = Vec::new();
    while let Ok(one) = Conn::from_url(&url).await {
        full.push(one);
    }
    let refused = "SELECT CAST(VARIABLE_VALUE AS SIGNED) FROM information_schema.GLOBAL_STATUS \
                   WHERE VARIABLE_NAME = 'CONNECTION_ERRORS_MAX_CONNECTIONS'";
    let before: i64 = other.query_first(refused).await.unwrap().unwrap();
    let asked = sql.query("SELECT SLEEP(100)", &[]).await;
    assert!(matches!(asked, Err(Error::Timeout)), "{asked:?}");
    until(&mut other, refused, |now| now > before).await;
    // Whoever looks after the link is refused too; by the end of this the server was told in vain.
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(full);
    let running = "SELECT COUNT(*) FROM information_schema.PROCESSLIST \
                   WHERE INFO LIKE 'SELECT SLEEP%'";
    until(&mut other, running, |number| number == 0).await;
    other.disconnect().await.unwrap();
}

#[tokio::test]
async fn long_statements_do_not_stay_with_the_connection() {
    let mariadb = Service::start(Kind::MariaDb).await.unwrap();
    let url = mariadb.url();
    let mut other = Conn::from_url(&url).await.unwrap();
    let mut lattice = Lattice::start::<SqldbMysql>(&[]).await;
    let config = [("url", url.as_str()), ("pool_size", "1")];
    let sql = lattice.link("shop", "default", &config).await;
    sql.number("SELECT 1").await.unwrap();
    sql.execute("CREATE TABLE l (a INT)", &[]).await.unwrap();
    let known = "SELECT CAST(VARIABLE_VALUE AS SIGNED) FROM information_schema.GLOBAL_STATUS \
                 WHERE VARIABLE_NAME = 'PREPARED_STMT_COUNT'";
    let before: i64 = other.query_first(known).await.unwrap().unwrap();
    for number in 0..4 {
        let long = "x".repeat(20_000 + number);
        let query = format!("SELECT LENGTH('{long}')");
        let length = i64::try_from(long.len()).unwrap();
        assert_eq!(sql.number(&query).await.unwrap(), length);
        let insert = format!("INSERT INTO l VALUES (LENGTH('{long}'))");
        sql.execute(&insert, &[]).await.unwrap();
    }
    // When this is answered the connection has done all that came before.
    sql.number("SELECT 1").await.unwrap();
    let after: i64 = other.query_first(known).await.unwrap().unwrap();
    assert_eq!(after, before);
    other.disconnect().await.unwrap();
}

#[tokio::test]
async fn a_statement_that_is_too_long_costs_no_connection() {
    let mariadb = Service::start(Kind::MariaDb).await.unwrap();
    let url = mariadb.url();
    let mut other = Conn::from_url(&url).await.unwrap();
    let little = "SET GLOBAL max_allowed_packet = 65536";
    other.query_drop(little).await.unwrap();
    let mut lattice = Lattice::start::<SqldbMysql>(&[]).await;
    let config = [("url", url.as_str()), ("pool_size", "1")];
    let sql = lattice.link("shop", "default", &config).await;
    let number = "SELECT CONNECTION_ID()";
    let first = sql.number(number).await.unwrap();
    let insert = format!("INSERT INTO l VALUES ('{}')", "x".repeat(70_000));
    let refused = sql.execute(&insert, &[]).await;
    let is_refused = matches!(refused, Err(Error::InvalidParameter(_)));
    assert!(is_refused, "{refused:?}");
    assert_eq!(sql.number(number).await.unwrap(), first);
    other.disconnect().await.unwrap();
}

#[tokio::test]
async fn a_long_statement_that_cannot_be_prepared_is_sent_once() {
    let mariadb = Service::start(Kind::MariaDb).await.unwrap();
    let url = mariadb.url();
    let mut other = Conn::from_url(&url).await.unwrap();
    let mut lattice = Lattice::start::<SqldbMysql>(&[]).await;
    let config = [("url", url.as_str()), ("pool_size", "1")];
    let sql = lattice.link("shop", "default", &config).await;
    sql.number("SELECT 1").await.unwrap();
    let sent = "SELECT CAST(VARIABLE_VALUE AS SIGNED) FROM information_schema.GLOBAL_STATUS \
                WHERE VARIABLE_NAME = 'COM_STMT_PREPARE'";
    let before: i64 = other.query_first(sent).await.unwrap().unwrap();
    let insert = format!("INSERT INTO none VALUES ('{}')", "x".repeat(20_000));
    let refused = sql.execute(&insert, &[]).await;
    assert!(matches!(refused, Err(Error::Failed(_))), "{refused:?}");
    let after: i64 = other.query_first(sent).await.unwrap().unwrap();
    assert_eq!(after, before + 1);
    other.disconnect().await.unwrap();
}

#[tokio::test]
async fn a_connection_to_a_server_that_takes_no_writes_is_given_up() {
    let mariadb = Service::start(Kind::MariaDb).await.unwrap();
    let mut other = Conn::from_url(mariadb.url()).await.unwrap();
    // Who may do all may write all the same.
    for statement in [
        "CREATE USER plain@'127.0.0.1' IDENTIFIED BY 'sesame'",
        "INSERT INTO mysql.db (Host, Db, User, Select_priv, Insert_priv, Create_priv) \
         VALUES ('127.0.0.1', 'lattice', 'plain', 'Y', 'Y', 'Y')",
        "FLUSH PRIVILEGES",
    ] {
        other.query_drop(statement).await.unwrap();
    }
    let mut lattice = Lattice::start::<SqldbMysql>(&[]).await;
    let port = mariadb.port().to_string();
    let config = [
        ("MYSQL_HOST", "127.0.0.1"),
        ("MYSQL_PORT", port.as_str()),
        ("MYSQL_USERNAME", "plain"),
        ("MYSQL_PASSWORD", "sesame"),
        ("MYSQL_DATABASE", "lattice"),
        ("pool_size", "1"),
    ];
    let sql = lattice.link("shop", "default", &config).await;
    sql.execute("CREATE TABLE acct (a INT)", &[]).await.unwrap();
    let number = "SELECT CONNECTION_ID()";
    let first = sql.number(number).await.unwrap();
    assert_eq!(sql.number(number).await.unwrap(), first);
    let demote = "SET GLOBAL read_only = 1";
    other.query_drop(demote).await.unwrap();
    let insert = "INSERT INTO acct VALUES (1)";
    let refused = sql.execute(insert, &[]).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert_ne!(sql.number(number).await.unwrap(), first);
    let promote = "SET GLOBAL read_only = 0";
    other.query_drop(promote).await.unwrap();
    sql.execute(insert, &[]).await.unwrap();
    other.disconnect().await.unwrap();
}
