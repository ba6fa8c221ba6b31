//! Where statements and transactions of PostgreSQL have their end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../sqldb-sqlite/tests/support/mod.rs"]
mod support;

use std::time::Duration;

use lattice_core::link::LinkState;
use lattice_services::{Kind, Service};
use sqldb_postgres::SqldbPostgres;
use support::{Error, Isolation, Lattice, Sql, Value, a_statement_ends_with_its_transaction, text};
use tokio::time::Instant;

async fn start() -> (Service, Lattice, Sql) {
    let postgres = Service::start(Kind::Postgres).await.unwrap();
    let mut lattice = Lattice::start::<SqldbPostgres>(&[]).await;
    let url = postgres.url();
    let sql = lattice.link("shop", "default", &[("url", &url)]).await;
    (postgres, lattice, sql)
}

#[tokio::test]
async fn a_statement_is_broken_off_with_its_transaction() {
    let (_postgres, _lattice, sql) = &start().await;
    a_statement_ends_with_its_transaction(sql, "SELECT pg_sleep(20)").await;
}

#[tokio::test]
async fn a_zero_byte_is_refused_and_ends_nothing() {
    let (_postgres, _lattice, sql) = &start().await;
    sql.execute("CREATE TABLE t (a TEXT)", &[]).await.unwrap();
    let tx = sql.begin(Isolation::Default).await.unwrap();
    let insert = "INSERT INTO t VALUES (?)";
    sql.execute_in(Some(&tx), insert, &[text("a")])
        .await
        .unwrap();
    let error = sql.execute_in(Some(&tx), "SELECT 1\0", &[]).await;
    assert!(
        matches!(&error, Err(Error::InvalidParameter(why)) if why.contains("zero byte")),
        "{error:?}"
    );
    sql.commit(&tx).await.unwrap();
    assert_eq!(sql.number("SELECT count(*) FROM t").await.unwrap(), 1);
}

#[tokio::test]
async fn no_more_transactions_are_told_than_there_are_connections() {
    let (postgres, mut lattice, _sql) = start().await;
    let url = postgres.url();
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

/// A server and a component with one connection, so that each statement meets what the one before it
/// has left there.
async fn start_with_one() -> (Service, Lattice, Sql) {
    let postgres = Service::start(Kind::Postgres).await.unwrap();
    let mut lattice = Lattice::start::<SqldbPostgres>(&[]).await;
    let url = postgres.url();
    let config = [("url", &*url), ("pool_size", "1"), ("databases", "*")];
    let sql = lattice.link("shop", "default", &config).await;
    (postgres, lattice, sql)
}

#[tokio::test]
async fn statements_go_with_the_tables_that_were_altered() {
    let (_postgres, _lattice, sql) = &start_with_one().await;
    sql.execute("CREATE TABLE t (a TEXT)", &[]).await.unwrap();
    let insert = "INSERT INTO t (a) VALUES (?)";
    let returning = "INSERT INTO t (a) VALUES (?) RETURNING a";
    let many = [insert, returning].map(|text| format!("{text} -- of many"));
    let all = async |number: i64| {
        let value = [Value::Int(number)];
        sql.execute(insert, &value).await.unwrap();
        sql.query(returning, &value).await.unwrap();
        let equal = "SELECT * FROM t WHERE a = ?";
        sql.query(equal, &value).await.unwrap();
        for text in &many {
            let rows = [value.to_vec(), value.to_vec()];
            sql.execute_many(None, text, &rows).await.unwrap();
        }
    };
    all(1).await;
    for (alter, number) in [
        ("ALTER TABLE t ALTER a TYPE INTEGER USING a::INTEGER", 2),
        // Too large for the values of the statements that are known.
        ("ALTER TABLE t ALTER a TYPE BIGINT", 5_000_000_000),
        ("ALTER TABLE t ADD b INTEGER", 3),
    ] {
        sql.execute(alter, &[]).await.unwrap();
        all(number).await;
    }
    assert_eq!(sql.number("SELECT count(*) FROM t").await.unwrap(), 24);
}

#[tokio::test]
async fn a_transaction_that_met_an_altered_table_is_to_be_tried_again() {
    let (_postgres, _lattice, sql) = &start_with_one().await;
    sql.execute("CREATE TABLE t (a INT)", &[]).await.unwrap();
    let query = "SELECT * FROM t";
    sql.query(query, &[]).await.unwrap();
    sql.execute("ALTER TABLE t ADD b INT", &[]).await.unwrap();
    let tx = sql.begin(Isolation::Default).await.unwrap();
    sql.execute_in(Some(&tx), "INSERT INTO t VALUES (1)", &[])
        .await
        .unwrap();
    let error = sql.query_in(&tx, query, &[]).await.unwrap_err();
    assert!(
        matches!(&error, Error::TryAgain(e) if e.code == "0A000"),
        "{error:?}"
    );
    let tx = sql.begin(Isolation::Default).await.unwrap();
    sql.execute_in(Some(&tx), "INSERT INTO t VALUES (1)", &[])
        .await
        .unwrap();
    assert_eq!(sql.query_in(&tx, query, &[]).await.unwrap().len(), 1);
    sql.commit(&tx).await.unwrap();
    // Where nothing was done before it is begun again.
    sql.execute("ALTER TABLE t ADD c INT", &[]).await.unwrap();
    let tx = sql.begin(Isolation::Serializable).await.unwrap();
    assert_eq!(sql.query_in(&tx, query, &[]).await.unwrap().len(), 1);
    let level = sql.query_in(&tx, "SHOW transaction_isolation", &[]).await;
    let wanted = [[text("serializable")]];
    assert_eq!(format!("{:?}", level.unwrap()), format!("{wanted:?}"));
    sql.commit(&tx).await.unwrap();
}

#[tokio::test]
async fn long_statements_do_not_stay_with_the_connection() {
    let (_postgres, _lattice, sql) = &start_with_one().await;
    let known = "SELECT count(*) FROM pg_prepared_statements";
    sql.number(known).await.unwrap();
    let before = sql.number(known).await.unwrap();
    for number in 0..5 {
        let long = format!("SELECT length('{}')", "x".repeat(20_000 + number));
        let length = i64::try_from(20_000 + number).unwrap();
        assert_eq!(sql.number(&long).await.unwrap(), length);
    }
    assert_eq!(sql.number(known).await.unwrap(), before);
}

#[tokio::test]
async fn a_value_that_cannot_be_read_holds_nothing_up() {
    let (_postgres, _lattice, sql) = &start_with_one().await;
    sql.execute("CREATE TABLE t (a INT)", &[]).await.unwrap();
    let odd = "SELECT 'pg_class'::regclass, repeat('x', 100) FROM generate_series(1, 100000)";
    let tx = sql.begin(Isolation::Default).await.unwrap();
    let error = sql.query_page(Some(&tx), odd, &[], 10).await.unwrap_err();
    assert!(
        matches!(&error, Error::Other(why) if why.contains("regclass")),
        "{error:?}"
    );
    sql.execute_in(Some(&tx), "INSERT INTO t VALUES (1)", &[])
        .await
        .unwrap();
    sql.commit(&tx).await.unwrap();
    let error = sql.query_page(None, odd, &[], 10).await.unwrap_err();
    assert!(matches!(error, Error::Other(_)), "{error:?}");
    assert_eq!(sql.number("SELECT count(*) FROM t").await.unwrap(), 1);
}

#[tokio::test]
async fn databases_that_are_none_take_no_place() {
    let (_postgres, _lattice, sql) = &start_with_one().await;
    for number in 0..20 {
        let name = format!("none{number}");
        let error = sql.execute_on(&name, "SELECT 1").await.unwrap_err();
        assert!(matches!(error, Error::NoSuchDatabase), "{name}: {error:?}");
    }
    sql.execute("CREATE DATABASE other", &[]).await.unwrap();
    sql.execute_on("other", "SELECT 1").await.unwrap();
}

#[tokio::test]
async fn a_cursor_over_very_much_is_closed_at_once() {
    let (_postgres, _lattice, sql) = &start_with_one().await;
    let endless = "SELECT generate_series(1, 1000000000)";
    let page = sql.query_page(None, endless, &[], 10).await.unwrap();
    let begun = Instant::now();
    sql.close(&page.cursor.unwrap()).await.unwrap();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(sql.number("SELECT 1").await.unwrap(), 1);
}
