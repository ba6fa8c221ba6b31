//! Where statements and transactions of MariaDB have their end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../sqldb-sqlite/tests/support/mod.rs"]
mod support;

use lattice_core::link::LinkState;
use lattice_services::{Kind, Service};
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
