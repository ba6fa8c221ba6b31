//! Transactions whose time is over.

use std::time::Duration;

use tokio::time::Instant;

use super::sql::{Error, Sql};

/// A statement that takes much longer than its transaction may is broken off with it, and what the
/// transaction holds is free again. `slow` is a query.
pub async fn a_statement_ends_with_its_transaction(sql: &Sql, slow: &str) {
    let create = "CREATE TABLE held (a INTEGER PRIMARY KEY, b INTEGER)";
    sql.execute(create, &[]).await.unwrap();
    let insert = "INSERT INTO held VALUES (1, 0)";
    sql.execute(insert, &[]).await.unwrap();
    let begun = Instant::now();
    let tx = sql.begin_for(1000).await.unwrap();
    sql.execute_in(Some(&tx), "UPDATE held SET b = 1", &[])
        .await
        .unwrap();
    let error = sql.query_in(&tx, slow, &[]).await.unwrap_err();
    assert!(matches!(error, Error::Timeout), "{error:?}");
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(900), "{took:?}");
    assert!(took < Duration::from_millis(2500), "{took:?}");
    sql.execute("UPDATE held SET b = b + 2", &[]).await.unwrap();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(sql.number("SELECT b FROM held").await.unwrap(), 2);
    let error = sql.commit(&tx).await.unwrap_err();
    assert!(matches!(error, Error::TransactionGone), "{error:?}");
}
