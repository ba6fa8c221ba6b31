//! Answers that are larger than what is kept of them.

use super::sql::{Error, Isolation, Sql};

/// Answers more than is kept of a write. `insert` adds 20 rows of a million bytes to the table
/// `long_rows`, which has one column `a`.
pub async fn a_write_answers_too_much(sql: &Sql, insert: &str) {
    let written = async || sql.number("SELECT count(*) FROM long_rows").await.unwrap();
    // Alone it is as if it had not been.
    let returning = format!("{insert} RETURNING a");
    let error = sql.query(&returning, &[]).await.unwrap_err();
    assert!(
        matches!(&error, Error::InvalidParameter(why) if why.contains("undone")),
        "{error:?}"
    );
    assert_eq!(written().await, 0);
    // One that is never undone says that it took effect.
    let error = sql
        .query(&format!("{returning} AS temp"), &[])
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Other(why) if why.contains("took effect")),
        "{error:?}"
    );
    assert_eq!(written().await, 20);
    // In a transaction the rows are read one page after the other.
    let tx = sql.begin(Isolation::Default).await.unwrap();
    let mut page = sql.query_page(Some(&tx), &returning, &[], 0).await.unwrap();
    let mut seen = page.rows.len();
    while let Some(cursor) = page.cursor.take() {
        page = sql.fetch(&cursor, 0).await.unwrap();
        seen += page.rows.len();
    }
    sql.commit(&tx).await.unwrap();
    assert_eq!((seen, written().await), (20, 40));
}

/// The memory of this process, which is caller and provider.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Reads a million rows of a hundred bytes and more in pages, none of which stays.
pub async fn a_million_rows_in_pages(sql: &Sql, query: &str) {
    let before = resident();
    let mut page = sql.query_page(None, query, &[], 10_000).await.unwrap();
    let (mut seen, mut most) = (page.rows.len(), 0);
    while let Some(cursor) = page.cursor.take() {
        page = sql.fetch(&cursor, 10_000).await.unwrap();
        seen += page.rows.len();
        most = most.max(resident());
    }
    assert_eq!(seen, 1_000_000);
    let grown = most.saturating_sub(before);
    assert!(
        grown < 100 * 1024 * 1024,
        "{grown} bytes for rows that come in pages"
    );
}
