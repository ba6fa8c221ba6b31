//! What is particular to SQLite, and what only shows from outside of a component.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use lattice_core::link::LinkState;
use sqldb_sqlite::SqldbSqlite;
use support::{
    ConstraintKind, Dialect, Error, Isolation, Lattice, SUM, Sql, Value, a_million_rows_in_pages,
    a_write_answers_too_much, count_at_once, open_accounts, sum_of, text, transfers_that_die,
};
use tempfile::TempDir;
use tokio::time::Instant;

struct Setup {
    lattice: Lattice,
    sql: Sql,
    root: TempDir,
}

async fn start_with(config: &[(&str, &str)]) -> Setup {
    let root = tempfile::tempdir().unwrap();
    let mut lattice = Lattice::start::<SqldbSqlite>(&[]).await;
    let path = root.path().to_str().unwrap();
    let config: Vec<_> = [("root", path)].iter().chain(config).copied().collect();
    let sql = lattice.link("shop", "default", &config).await;
    Setup { lattice, sql, root }
}

async fn start() -> Setup {
    start_with(&[]).await
}

#[tokio::test]
async fn values_go_in_and_come_out() {
    let Setup { sql, .. } = &start().await;
    let create = "CREATE TABLE v (a BOOLEAN, b INTEGER, c REAL, d DECIMAL_TEXT(30, 10), e TEXT, f BLOB, g DATE, h TIME, i TIMESTAMP, j UUID, k JSON, l TEXT)";
    sql.execute(create, &[]).await.unwrap();
    let row = vec![
        Value::Boolean(true),
        Value::Int(i64::MIN),
        Value::Float(0.1),
        Value::Decimal("-12345678901234567890.0123456789".into()),
        text("it's; DROP TABLE v -- ü"),
        Value::Bytes(vec![0, 255].into()),
        Value::Date("2024-02-29".into()),
        Value::Time("23:59:59.5".into()),
        Value::Timestamp("2024-02-29T12:00:00Z".into()),
        Value::Uuid("6f2c1a34-1111-4222-8333-444455556666".into()),
        Value::Json("{\"a\":[1]}".into()),
        Value::Null,
    ];
    let insert = "INSERT INTO v VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let done = sql.execute(insert, &row).await.unwrap();
    assert_eq!((done.affected, done.last_insert_id), (1, Some(1)));
    let rows = sql.query("SELECT * FROM v", &[]).await.unwrap();
    assert_eq!(format!("{rows:?}"), format!("{:?}", vec![row]));
    let error = sql
        .execute("SELECT ?", &[Value::Float(f64::NAN)])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::InvalidParameter(_)), "{error:?}");
}

#[tokio::test]
async fn what_is_kept_as_a_number_says_so() {
    let Setup { sql, .. } = &start().await;
    let create = "CREATE TABLE n (a DECIMAL(30, 10), b DECIMAL(10, 2), c NUMERIC, d JSON, e JSON, f JSON, g JSON_TEXT)";
    sql.execute(create, &[]).await.unwrap();
    let decimal = |text: &str| Value::Decimal(text.to_owned());
    let json = |text: &str| Value::Json(text.to_owned());
    let row = [
        decimal("-12345678901234567890.0123456789"),
        decimal("12.50"),
        decimal("7.00"),
        json("12"),
        json("1.25"),
        json("[1.10]"),
        json("12345678901234567890.5"),
    ];
    sql.execute("INSERT INTO n VALUES (?, ?, ?, ?, ?, ?, ?)", &row)
        .await
        .unwrap();
    let rows = sql.query("SELECT * FROM n", &[]).await.unwrap();
    let wanted = vec![
        Value::Float(-12_345_678_901_234_567_000.0),
        Value::Float(12.5),
        decimal("7"),
        json("12"),
        json("1.25"),
        json("[1.10]"),
        json("12345678901234567890.5"),
    ];
    assert_eq!(format!("{rows:?}"), format!("{:?}", [wanted]));
}

#[tokio::test]
async fn nothing_reaches_beyond_the_database() {
    let Setup { sql, root, .. } = &start().await;
    let outside = root.path().join("outside.sqlite3");
    for statement in [
        format!("ATTACH '{}' AS other", outside.display()),
        format!("ATTACH '{}' || '' AS other", outside.display()),
        format!("VACUUM INTO '{}'", outside.display()),
        "PRAGMA journal_mode = DELETE".to_owned(),
        "PRAGMA temp_store_directory = '/'".to_owned(),
        "PRAGMA query_only = 0".to_owned(),
        "SELECT load_extension('x')".to_owned(),
    ] {
        let error = sql.execute(&statement, &[]).await.unwrap_err();
        let is_denied = matches!(error, Error::AccessDenied | Error::Failed(_));
        assert!(is_denied, "{statement}: {error:?}");
    }
    assert!(!outside.exists());
    assert_eq!(
        sql.number("SELECT count(*) FROM pragma_table_list")
            .await
            .unwrap(),
        2
    );
    for name in ["../outside", "/etc/passwd", "..", "a/b", "other"] {
        let error = sql
            .execute_on(name, "CREATE TABLE t (a)")
            .await
            .unwrap_err();
        assert!(matches!(error, Error::NoSuchDatabase), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn databases_are_files_of_their_own() {
    let setup = start_with(&[("databases", "logs, old=archive"), ("database", "shop")]).await;
    let sql = &setup.sql;
    for name in ["", "logs", "old"] {
        sql.execute_on(name, "CREATE TABLE t (a)").await.unwrap();
        assert_eq!(sql.dialect(name).await.unwrap(), Dialect::Sqlite);
    }
    for file in ["shop", "logs", "archive"] {
        assert!(
            setup.root.path().join(format!("{file}.sqlite3")).exists(),
            "{file}"
        );
    }
}

#[tokio::test]
async fn constraints_are_named() {
    let Setup { sql, .. } = &start().await;
    let create = "CREATE TABLE c (a INTEGER PRIMARY KEY, b TEXT UNIQUE, c INT NOT NULL CHECK (c > 0), d INT REFERENCES c (a), CONSTRAINT small CHECK (a < 100))";
    sql.execute(create, &[]).await.unwrap();
    sql.execute("INSERT INTO c VALUES (1, 'x', 1, NULL)", &[])
        .await
        .unwrap();
    for (values, kind, name) in [
        ("2, 'x', 1, NULL", ConstraintKind::Unique, Some("c.b")),
        ("1, 'y', 1, NULL", ConstraintKind::Unique, Some("c.a")),
        ("2, 'y', NULL, NULL", ConstraintKind::NotNull, Some("c.c")),
        ("100, 'y', 1, NULL", ConstraintKind::Check, Some("small")),
        ("2, 'y', 1, 7", ConstraintKind::ForeignKey, None),
    ] {
        let insert = format!("INSERT INTO c VALUES ({values})");
        let Err(Error::Failed(error)) = sql.execute(&insert, &[]).await else {
            panic!("{values} is refused");
        };
        let constraint = error.constraint.unwrap();
        assert_eq!(constraint.kind, kind, "{values}");
        assert_eq!(constraint.name.as_deref(), name, "{values}");
    }
}

#[tokio::test]
async fn rows_come_in_pages() {
    let Setup { sql, .. } = &start().await;
    let numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) SELECT i FROM n";
    let mut page = sql.query_page(None, numbers, &[], 1000).await.unwrap();
    let mut seen = page.rows.len();
    while let Some(cursor) = page.cursor.take() {
        page = sql.fetch(&cursor, 1000).await.unwrap();
        seen += page.rows.len();
    }
    assert_eq!(seen, 2500);
    let page = sql.query_page(None, numbers, &[], 10).await.unwrap();
    let cursor = page.cursor.unwrap();
    sql.close(&cursor).await.unwrap();
    sql.close(&cursor).await.unwrap();
    let error = sql.fetch(&cursor, 10).await.unwrap_err();
    assert!(matches!(error, Error::CursorGone), "{error:?}");
}

#[tokio::test]
async fn a_million_rows_are_never_here_at_once() {
    let Setup { sql, .. } = &start().await;
    let numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) SELECT i, hex(zeroblob(50)) FROM n";
    a_million_rows_in_pages(sql, numbers).await;
}

#[tokio::test]
async fn a_long_answer_is_cut_into_pages_by_its_length() {
    let Setup { sql, .. } = &start().await;
    let blobs = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20) SELECT zeroblob(200000) FROM n";
    let page = sql.query_page(None, blobs, &[], 1000).await.unwrap();
    assert_eq!(page.rows.len(), 3);
    assert!(page.cursor.is_some());
}

#[tokio::test]
async fn what_a_write_returns_is_there_even_when_nobody_fetches_it() {
    let Setup { sql, .. } = &start().await;
    sql.execute("CREATE TABLE r (a INTEGER)", &[])
        .await
        .unwrap();
    let insert = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50) INSERT INTO r SELECT i FROM n RETURNING a";
    let page = sql.query_page(None, insert, &[], 10).await.unwrap();
    let cursor = page.cursor.unwrap();
    // The writer is free, and all is written.
    sql.execute("INSERT INTO r VALUES (0)", &[]).await.unwrap();
    assert_eq!(sql.number("SELECT count(*) FROM r").await.unwrap(), 51);
    let rest = sql.fetch(&cursor, 100).await.unwrap();
    assert_eq!((rest.rows.len(), rest.cursor), (40, None));
}

#[tokio::test]
async fn a_write_that_answers_too_much_is_undone() {
    let Setup { sql, .. } = &start().await;
    sql.execute("CREATE TABLE long_rows (a BLOB)", &[])
        .await
        .unwrap();
    let insert = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20) INSERT INTO long_rows SELECT zeroblob(1000000) FROM n";
    a_write_answers_too_much(sql, insert).await;
}

#[tokio::test]
async fn a_statement_ends_with_its_call() {
    let Setup { lattice, sql, .. } = &start().await;
    sql.execute("CREATE TABLE t (a)", &[]).await.unwrap();
    let hasty = lattice.hasty("shop", "default", Duration::from_millis(700));
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) INSERT INTO t SELECT max(i) FROM n";
    let begun = Instant::now();
    let error = hasty.execute(endless, &[]).await.unwrap_err();
    assert!(matches!(error, Error::Timeout), "{error:?}");
    // The writer is free again.
    sql.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert_eq!(sql.number("SELECT count(*) FROM t").await.unwrap(), 1);
}

#[tokio::test]
async fn transfers_keep_their_sum_when_components_die() {
    let Setup { sql, .. } = &start_with(&[("transaction_idle_ms", "100")]).await;
    open_accounts(sql).await;
    transfers_that_die(sql, 30).await;
    assert_eq!(sum_of(sql).await, SUM);
    // Nobody holds the writer any more.
    sql.execute("UPDATE accounts SET balance = balance", &[])
        .await
        .unwrap();
}

#[tokio::test]
async fn increments_made_at_once_all_count() {
    let Setup { sql, .. } = &start().await;
    count_at_once(sql, 64).await;
}

#[tokio::test]
async fn a_transaction_ends_with_its_time_its_link_and_its_provider() {
    let Setup { lattice, sql, root } = &mut start_with(&[("transaction_idle_ms", "60000")]).await;
    sql.execute("CREATE TABLE t (a)", &[]).await.unwrap();
    let insert = "INSERT INTO t VALUES (1)";
    let short = sql.begin_for(200).await.unwrap();
    sql.execute_in(Some(&short), insert, &[]).await.unwrap();
    // Waits for the writer, which the end of the time gives back.
    sql.execute(insert, &[]).await.unwrap();
    let error = sql.commit(&short).await.unwrap_err();
    assert!(matches!(error, Error::TransactionGone), "{error:?}");
    // Of use to nobody else.
    let path = root.path().to_str().unwrap().to_owned();
    let tx = sql.begin(Isolation::Serializable).await.unwrap();
    let other = lattice.link("other", "default", &[("root", &path)]).await;
    let error = other.commit(&tx).await.unwrap_err();
    assert!(matches!(error, Error::TransactionGone), "{error:?}");
    sql.execute_in(Some(&tx), insert, &[]).await.unwrap();
    lattice.delete("shop", "default").await;
    other.execute(insert, &[]).await.unwrap();
    let left = other.begin(Isolation::Default).await.unwrap();
    other.execute_in(Some(&left), insert, &[]).await.unwrap();
    lattice.end_provider().await;
    let mut again = Lattice::start::<SqldbSqlite>(&[]).await;
    let sql = again.link("shop", "default", &[("root", &path)]).await;
    assert_eq!(sql.number("SELECT count(*) FROM t").await.unwrap(), 2);
}

#[tokio::test]
async fn who_waits_too_long_for_the_writer_tries_again() {
    let Setup { sql, .. } = &start_with(&[("busy_timeout_ms", "200")]).await;
    sql.execute("CREATE TABLE t (a)", &[]).await.unwrap();
    let tx = sql.begin(Isolation::Default).await.unwrap();
    let error = sql
        .execute("INSERT INTO t VALUES (1)", &[])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::TryAgain(_)), "{error:?}");
    // Readers do not wait.
    assert_eq!(sql.number("SELECT count(*) FROM t").await.unwrap(), 0);
    sql.commit(&tx).await.unwrap();
    sql.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
}

#[tokio::test]
async fn a_statement_that_rolls_back_ends_its_transaction() {
    let Setup { sql, .. } = &start().await;
    for statement in [
        "CREATE TABLE t (a UNIQUE)",
        "INSERT INTO t VALUES (1)",
        "CREATE TRIGGER small BEFORE INSERT ON t WHEN NEW.a > 9 BEGIN SELECT RAISE(ROLLBACK, 'too large'); END",
    ] {
        sql.execute(statement, &[]).await.unwrap();
    }
    for statement in [
        "INSERT OR ROLLBACK INTO t VALUES (1)",
        "INSERT OR ROLLBACK INTO t VALUES (1) RETURNING a",
        "INSERT INTO t VALUES (10)",
    ] {
        let tx = sql.begin(Isolation::Default).await.unwrap();
        let insert = "INSERT INTO t VALUES (2)";
        sql.execute_in(Some(&tx), insert, &[]).await.unwrap();
        let error = match statement.ends_with("RETURNING a") {
            true => sql.query_in(&tx, statement, &[]).await.map(drop),
            false => sql.execute_in(Some(&tx), statement, &[]).await.map(drop),
        };
        assert!(
            matches!(&error, Err(Error::Failed(e)) if e.constraint.is_some()),
            "{statement}: {error:?}"
        );
        // It would take effect by itself.
        let error = sql.execute_in(Some(&tx), insert, &[]).await.unwrap_err();
        assert!(matches!(error, Error::TransactionGone), "{error:?}");
        sql.rollback(&tx).await.unwrap();
        assert_eq!(sql.number("SELECT count(*) FROM t").await.unwrap(), 1);
        // By itself it is a statement like others that fail.
        let error = sql.execute(statement, &[]).await.unwrap_err();
        assert!(matches!(error, Error::Failed(_)), "{statement}: {error:?}");
    }
}

#[tokio::test]
async fn too_many_are_told_so() {
    let Setup { sql, .. } = &start_with(&[
        ("pool_size", "2"),
        ("pool_wait_ms", "200"),
        ("max_cursors", "1"),
    ])
    .await;
    let numbers = "SELECT 1 UNION ALL SELECT 2";
    let held = sql.query_page(None, numbers, &[], 1).await.unwrap();
    let error = sql.query_page(None, numbers, &[], 1).await.unwrap_err();
    assert!(
        matches!(&error, Error::Busy(why) if why.contains("max_cursors")),
        "{error:?}"
    );
    assert_eq!(sql.query(numbers, &[]).await.unwrap().len(), 2);
    // What is told so was not written either.
    sql.execute("CREATE TABLE t (a)", &[]).await.unwrap();
    let insert = "INSERT INTO t VALUES (1), (2) RETURNING a";
    let error = sql.query_page(None, insert, &[], 1).await.unwrap_err();
    assert!(matches!(error, Error::Busy(_)), "{error:?}");
    assert_eq!(sql.number("SELECT count(*) FROM t").await.unwrap(), 0);
    sql.close(&held.cursor.unwrap()).await.unwrap();
    sql.query_page(None, insert, &[], 1).await.unwrap();
    assert_eq!(sql.number("SELECT count(*) FROM t").await.unwrap(), 2);
}

#[tokio::test]
async fn a_cursor_that_is_closed_ends_who_reads_from_it() {
    let Setup { sql, .. } = &start_with(&[("pool_size", "2"), ("pool_wait_ms", "200")]).await;
    // After its first rows it looks for others for ever.
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 40";
    let page = sql.query_page(None, endless, &[], 1).await.unwrap();
    let cursor = page.cursor.unwrap();
    let begun = Instant::now();
    let close = async {
        // Long enough for the other call to have begun; the test holds in any case.
        tokio::time::sleep(Duration::from_millis(100)).await;
        sql.close(&cursor).await
    };
    let (fetched, closed) = tokio::join!(sql.fetch(&cursor, 100), close);
    assert!(matches!(fetched, Err(Error::CursorGone)), "{fetched:?}");
    closed.unwrap();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn a_link_fails_with_a_reason_until_it_is_mended() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("default.sqlite3");
    std::fs::write(
        &file,
        "this is no database, but long enough to look like one",
    )
    .unwrap();
    let mut lattice = Lattice::start::<SqldbSqlite>(&[]).await;
    let path = root.path().to_str().unwrap();
    let sql = lattice.put("shop", "default", &[("root", path)]).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("not a database"), "{reason}");
    std::fs::remove_file(&file).unwrap();
    lattice.report_of(LinkState::Ready).await;
    sql.execute("CREATE TABLE t (a)", &[]).await.unwrap();
    lattice
        .put("shop", "spare", &[("root", path), ("pool_size", "none")])
        .await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("pool_size"), "{reason}");
    let require = [
        ("root", path),
        ("require", "transactions, max-parameters>=100000"),
    ];
    lattice.put("shop", "third", &require).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("max-parameters>=100000"), "{reason}");
}

#[tokio::test]
async fn databases_in_memory_go_with_their_link() {
    let mut lattice = Lattice::start::<SqldbSqlite>(&[]).await;
    let sql = lattice
        .link("shop", "default", &[("root", ":memory:")])
        .await;
    sql.execute("CREATE TABLE t (a)", &[]).await.unwrap();
    assert_eq!(sql.number("SELECT count(*) FROM t").await.unwrap(), 0);
    let other = lattice
        .link("other", "default", &[("root", ":memory:")])
        .await;
    other.execute("CREATE TABLE t (a)", &[]).await.unwrap();
}

#[tokio::test]
async fn a_write_in_the_form_of_a_query_is_no_way_around_the_reader() {
    let Setup { sql, .. } = &start().await;
    sql.execute("CREATE TABLE t (a)", &[]).await.unwrap();
    let rows = sql
        .query("INSERT INTO t VALUES (5) RETURNING a", &[])
        .await
        .unwrap();
    assert_eq!(
        format!("{rows:?}"),
        format!("{:?}", vec![vec![Value::Int(5)]])
    );
    let error = sql.query("BEGIN", &[]).await.unwrap_err();
    assert!(matches!(error, Error::InvalidParameter(_)), "{error:?}");
}

#[tokio::test]
async fn copies_of_the_provider_pass_on_what_they_do_not_hold() {
    let Setup { lattice, sql, .. } = &mut start().await;
    sql.execute("CREATE TABLE t (a)", &[]).await.unwrap();
    lattice.run_another::<SqldbSqlite>().await;
    let insert = "INSERT INTO t VALUES (?)";
    for number in 0..20 {
        let tx = sql.begin(Isolation::Default).await.unwrap();
        let value = [Value::Int(number)];
        sql.execute_in(Some(&tx), insert, &value).await.unwrap();
        let rows: Vec<_> = (0..3).map(|_| value.to_vec()).collect();
        sql.execute_many(Some(&tx), insert, &rows).await.unwrap();
        let page = sql
            .query_page(Some(&tx), "SELECT a FROM t", &[], 2)
            .await
            .unwrap();
        sql.fetch(&page.cursor.unwrap(), 1).await.unwrap();
        match number % 2 {
            0 => sql.commit(&tx).await.unwrap(),
            _ => sql.rollback(&tx).await.unwrap(),
        }
        let error = sql.commit(&tx).await.unwrap_err();
        assert!(matches!(error, Error::TransactionGone), "{error:?}");
    }
    assert_eq!(sql.number("SELECT count(*) FROM t").await.unwrap(), 40);
    for _ in 0..10 {
        let mut page = sql
            .query_page(None, "SELECT a FROM t", &[], 15)
            .await
            .unwrap();
        let mut seen = page.rows.len();
        while let Some(cursor) = page.cursor.take() {
            page = sql.fetch(&cursor, 15).await.unwrap();
            seen += page.rows.len();
        }
        assert_eq!(seen, 40);
    }
    // Of a copy that nobody knows.
    let nobody = "tx-0123456789abcdef-00000000000000000000000000000000";
    let error = sql.commit(nobody).await.unwrap_err();
    assert!(matches!(error, Error::TransactionGone), "{error:?}");
}
