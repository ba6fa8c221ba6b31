//! Placeholders that become something else, and those that have to stay.

use super::*;

#[test]
fn placeholders_of_mysql_may_be_something_else() {
    let statement = read("SELECT '?', ?, a + $1 FROM t", Dialect::Postgres);
    assert_eq!(
        statement.text_with(|_| Some("x".to_owned())),
        statement.text
    );
    let statement = read("SELECT '?é', ?, a + ? FROM t WHERE b = ?", Dialect::Mysql);
    let marked = statement.text_with(|at| (at != 1).then(|| format!("f(?{at})")));
    assert_eq!(marked, "SELECT '?é', f(?0), a + ? FROM t WHERE b = f(?2)");
}

#[test]
fn placeholders_of_limits_stay() {
    for (text, wanted) in [
        ("SELECT a FROM t LIMIT ?", "SELECT a FROM t LIMIT ?"),
        (
            "SELECT ? FROM t limit /* from */ ? , ?",
            "SELECT x FROM t limit /* from */ ? , ?",
        ),
        ("SELECT a FROM t LIMIT 10, ?", "SELECT a FROM t LIMIT 10, ?"),
        (
            "SELECT a FROM t LIMIT $1 OFFSET $2",
            "SELECT a FROM t LIMIT ? OFFSET ?",
        ),
        (
            "(SELECT a FROM t LIMIT 1), ?, `limit` = ?",
            "(SELECT a FROM t LIMIT 1), x, `limit` = x",
        ),
        (
            "SELECT a FROM t FETCH FIRST ? ROWS ONLY",
            "SELECT a FROM t FETCH FIRST ? ROWS ONLY",
        ),
        ("SELECT a LIMIT 1 + ?, ?", "SELECT a LIMIT 1 + x, x"),
    ] {
        let marked = read(text, Dialect::Mysql).text_with(|_| Some("x".to_owned()));
        assert_eq!(marked, wanted);
    }
}

#[test]
fn placeholders_that_count_the_rows_of_windows_stay() {
    for (text, wanted) in [
        (
            "SUM(a + ?) OVER (ROWS BETWEEN ? preceding AND ? /* rows */ FOLLOWING)",
            "SUM(a + x) OVER (ROWS BETWEEN ? preceding AND ? /* rows */ FOLLOWING)",
        ),
        (
            "OVER (ORDER BY a + ? ROWS ? PRECEDING), ?",
            "OVER (ORDER BY a + x ROWS ? PRECEDING), x",
        ),
        ("SELECT NTILE( ? ) OVER w, ?", "SELECT NTILE( ? ) OVER w, x"),
        (
            "SELECT lag(?, ?, ?), lead (a + ?, ? + 1)",
            "SELECT lag(x, ?, x), lead (a + x, ? + 1)",
        ),
        (
            "SELECT NTH_VALUE(f(a, ?), ?), f((?), ?)",
            "SELECT NTH_VALUE(f(a, x), ?), f((x), x)",
        ),
    ] {
        let marked = read(text, Dialect::Mysql).text_with(|_| Some("x".to_owned()));
        assert_eq!(marked, wanted);
    }
}
