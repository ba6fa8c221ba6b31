//! Where statements and transactions of PostgreSQL have their end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../sqldb-sqlite/tests/support/mod.rs"]
mod support;

use lattice_core::link::LinkState;
use lattice_services::{Kind, Service};
use sqldb_postgres::SqldbPostgres;
use support::{Error, Isolation, Lattice, Sql, a_statement_ends_with_its_transaction, text};

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
