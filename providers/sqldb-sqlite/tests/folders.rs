//! Which files links have, and what becomes of those that go.

mod support;

use std::time::Duration;

use sqldb_sqlite::SqldbSqlite;
use support::{Error, Isolation, Lattice};

#[tokio::test]
async fn nothing_is_written_to_a_file_that_is_gone() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().to_str().unwrap();
    let mut lattice = Lattice::start::<SqldbSqlite>(&[]).await;
    let sql = lattice.link("shop", "default", &[("root", path)]).await;
    sql.execute("CREATE TABLE t (a)", &[]).await.unwrap();
    std::fs::remove_dir_all(root.path()).unwrap();
    let create = async {
        while sql.execute("CREATE TABLE t (b)", &[]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let patience = Duration::from_secs(30);
    tokio::time::timeout(patience, create).await.unwrap();
    assert!(root.path().join("default.sqlite3").exists());
    assert_eq!(sql.number("SELECT count(b) FROM t").await.unwrap(), 0);
}

#[tokio::test]
async fn a_transaction_whose_file_is_gone_is_not_committed() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().to_str().unwrap();
    let mut lattice = Lattice::start::<SqldbSqlite>(&[]).await;
    let sql = lattice.link("shop", "default", &[("root", path)]).await;
    sql.execute("CREATE TABLE t (a)", &[]).await.unwrap();
    let tx = sql.begin(Isolation::Default).await.unwrap();
    let insert = "INSERT INTO t VALUES (1)";
    sql.execute_in(Some(&tx), insert, &[]).await.unwrap();
    std::fs::remove_file(root.path().join("default.sqlite3")).unwrap();
    let committed = sql.commit(&tx).await;
    assert!(
        matches!(&committed, Err(Error::Unavailable(_))),
        "{committed:?}"
    );
}

#[tokio::test]
async fn links_that_name_no_folder_have_one_each() {
    let mut lattice = Lattice::start::<SqldbSqlite>(&[]).await;
    let one = lattice.link("own-folder", "default", &[]).await;
    let other = lattice.link("own-folder", "other", &[]).await;
    let drop = "DROP TABLE IF EXISTS t";
    for sql in [&one, &other] {
        sql.execute(drop, &[]).await.unwrap();
        sql.execute("CREATE TABLE t (a)", &[]).await.unwrap();
    }
    one.execute(drop, &[]).await.unwrap();
    assert_eq!(other.number("SELECT count(*) FROM t").await.unwrap(), 0);
}
