//! How statements are read and rewritten.

use proptest::prelude::*;

use super::*;

mod marks;

const ALL: [Dialect; 3] = [Dialect::Postgres, Dialect::Mysql, Dialect::Sqlite];

fn read(text: &str, dialect: Dialect) -> Statement {
    Statement::read(text, dialect).unwrap()
}

fn error(text: &str, dialect: Dialect) -> StatementError {
    Statement::read(text, dialect).unwrap_err()
}

#[test]
fn each_dialect_gets_its_own_placeholders() {
    let marks = "SELECT a FROM t WHERE a = ? AND b=?";
    let numbers = "SELECT a FROM t WHERE a = $2 AND b=$1 OR c=$2";
    let texts = |text| ALL.map(|dialect| read(text, dialect).text);
    assert_eq!(
        texts(marks),
        [
            "SELECT a FROM t WHERE a = $1 AND b=$2",
            "SELECT a FROM t WHERE a = ? AND b=?",
            "SELECT a FROM t WHERE a = ?1 AND b=?2",
        ]
    );
    assert_eq!(
        texts(numbers),
        [
            "SELECT a FROM t WHERE a = $2 AND b=$1 OR c=$2",
            "SELECT a FROM t WHERE a = ? AND b=? OR c=?",
            "SELECT a FROM t WHERE a = ?2 AND b=?1 OR c=?2",
        ]
    );
    let values = vec![Value::Int(1), Value::Int(2)];
    let ordered = read(numbers, Dialect::Mysql).in_order(values);
    assert_eq!(ordered, [Value::Int(2), Value::Int(1), Value::Int(2)]);
}

#[test]
fn quotes_and_comments_are_left_alone() {
    for (text, dialect) in [
        ("SELECT '? $1 ''?'' ;' -- ? $1 ;\n", Dialect::Postgres),
        ("SELECT \"?\" /* ? /* ? */ ; */", Dialect::Postgres),
        (
            "SELECT E'\\'?' || $$ ? ; $$ || $a$ ? $$ ? $a$",
            Dialect::Postgres,
        ),
        ("SELECT a$1, b FROM t", Dialect::Postgres),
        ("SELECT '\\'?', \"\\\"?\", `?` # ?\n -- ?", Dialect::Mysql),
        ("SELECT `a``?`, [?], '?''?' /* ? */ --?", Dialect::Sqlite),
        ("SELECT 'it''s' -- no end ' ?", Dialect::Sqlite),
        ("SELECT '?", Dialect::Sqlite),
        ("SELECT '\\é?'", Dialect::Mysql),
    ] {
        let statement = read(text, dialect);
        assert_eq!(statement.text, text, "{dialect:?}");
        assert_eq!(statement.values, 0, "{text}");
    }
    assert_eq!(read("SELECT 5--?", Dialect::Mysql).values, 1);
    assert_eq!(read("SELECT /*! ? */ 1", Dialect::Mysql).values, 1);
    assert_eq!(read("SELECT '\\', ?, '", Dialect::Postgres).values, 1);
    assert_eq!(read("/* /* */ SELECT ?", Dialect::Mysql).values, 1);
}

#[test]
fn what_counts_by_the_version_of_a_server_may_leave_traces() {
    for text in [
        "/*!50000START TRANSACTION*/",
        "/*!99999 SELECT */ START TRANSACTION",
        "SELECT 1 /*M!100000 INTO @a */",
    ] {
        assert!(read(text, Dialect::Mysql).leaves_traces(), "{text}");
    }
    assert!(!read("SELECT 1 /* ! */", Dialect::Mysql).leaves_traces());
}

#[test]
fn operators_of_postgres_can_be_written() {
    let pg = Dialect::Postgres;
    assert_eq!(read("SELECT a ?? ?", pg).text, "SELECT a ? $1");
    assert_eq!(read("SELECT a ?| $1", pg).text, "SELECT a ?| $1");
    assert_eq!(
        read("SELECT $1::int, a[2:3]", pg).text,
        "SELECT $1::int, a[2:3]"
    );
    assert_eq!(
        error("SELECT a ?? 1", Dialect::Sqlite),
        StatementError::Escaped
    );
}

#[test]
fn what_is_no_placeholder_is_named() {
    for dialect in ALL {
        assert_eq!(error("SELECT $1, $3", dialect), StatementError::Gap(2));
        let foreign = StatementError::Foreign("?1".to_owned());
        assert_eq!(error("SELECT ?1", dialect), foreign);
        let large = "SELECT $99999999999999999999";
        assert!(matches!(error(large, dialect), StatementError::TooMany(_)));
        assert!(matches!(
            error("SELECT $0", dialect),
            StatementError::Foreign(_)
        ));
    }
    assert_eq!(error("SELECT ?, $1", Dialect::Mysql), StatementError::Mixed);
    for name in [":a", "@a", "$a"] {
        let text = format!("SELECT {name}");
        assert_eq!(
            error(&text, Dialect::Sqlite),
            StatementError::Foreign(name.to_owned())
        );
    }
}

#[test]
fn there_is_one_statement() {
    for dialect in ALL {
        assert_eq!(error(" -- nothing\n ", dialect), StatementError::Empty);
        assert_eq!(
            error("SELECT 1; DROP TABLE t", dialect),
            StatementError::Several
        );
        assert_eq!(read("SELECT 1 ; -- end\n;", dialect).verb, "SELECT");
        let trigger = "CREATE TRIGGER a AFTER INSERT ON t BEGIN DELETE FROM u; SELECT 1; END";
        assert_eq!(read(trigger, dialect).verb, "CREATE");
    }
}

#[test]
fn transactions_are_not_begun_by_statements() {
    for dialect in ALL {
        for text in [
            "begin",
            "START TRANSACTION",
            "/* x */ COMMIT",
            "(ROLLBACK)",
            "END",
            "PREPARE TRANSACTION 'a'",
            "SET autocommit = 1",
        ] {
            let statement = read(text, dialect);
            let refused = statement.check(0, true);
            assert!(
                matches!(refused, Err(StatementError::Transaction(_))),
                "{text}"
            );
        }
        let point = read("ROLLBACK TO SAVEPOINT a", dialect);
        assert_eq!(point.check(0, true), Ok(()));
        assert!(matches!(
            point.check(0, false),
            Err(StatementError::Outside(_))
        ));
    }
    let create = "CREATE TABLE t (a int)";
    assert_eq!(read(create, Dialect::Postgres).check(0, true), Ok(()));
    assert!(matches!(
        read(create, Dialect::Mysql).check(0, true),
        Err(StatementError::Commits(_))
    ));
}

#[test]
fn what_ends_a_transaction_of_mysql_is_refused_in_one() {
    let mysql = Dialect::Mysql;
    for text in [
        "check table t",
        "CACHE INDEX t IN other",
        "LOAD INDEX INTO CACHE t",
        "BACKUP STAGE START",
        "RESET QUERY CACHE",
        "STOP SLAVE",
        "CHANGE MASTER TO master_host = 'x'",
        "UNINSTALL PLUGIN x",
        "SHUTDOWN",
        "SET PASSWORD = PASSWORD('x')",
        "SET @a = 1, PASSWORD = 'x'",
        "SET DEFAULT ROLE NONE",
        "SET STATEMENT max_statement_time = 5 FOR CHECK TABLE t",
        "SET STATEMENT max_statement_time = 5 FOR SET PASSWORD FOR me = 'x'",
        "CREATE TEMPORARY SEQUENCE s",
        "TRUNCATE temporary",
    ] {
        let statement = read(text, mysql);
        let refused = statement.check(0, true);
        assert!(matches!(refused, Err(StatementError::Commits(_))), "{text}");
        assert_eq!(statement.check(0, false), Ok(()), "{text}");
        assert_eq!(read(text, Dialect::Postgres).check(0, true), Ok(()));
    }
    for text in [
        "SET STATEMENT max_statement_time = 5 FOR COMMIT",
        "set statement a = 1 for set statement b = 2 for rollback",
        "SET STATEMENT a = SUBSTRING('x' FROM 1 FOR 1) FOR COMMIT",
        "SET `autocommit` = 0",
        "SET @@session.`AUTOCOMMIT` = 1",
    ] {
        let refused = read(text, mysql).check(0, true);
        let is_refused = matches!(refused, Err(StatementError::Transaction(_)));
        assert!(is_refused, "{text}");
    }
    for text in [
        "SET @hash = PASSWORD('x')",
        "SET ROLE NONE",
        "SET STATEMENT max_statement_time = 5 FOR INSERT INTO t VALUES (1)",
        "CREATE TEMPORARY TABLE t (a INT)",
        "DROP TEMPORARY TABLE t",
        "SELECT `check`, 'COMMIT' FROM t",
        "LOAD DATA INFILE 'x' INTO TABLE t",
    ] {
        assert_eq!(read(text, mysql).check(0, true), Ok(()), "{text}");
    }
}

#[test]
fn no_transaction_ends_in_a_comment_that_a_server_may_run() {
    for text in [
        "/*M!100000 COMMIT */",
        "/*M! COMMIT */",
        "/*!COMMIT*/",
        "/*!50000 COMMIT */",
        "/*!99999 SELECT */ COMMIT",
        "/*!99999 DO ' */ COMMIT -- '",
        "SELECT 1 /*! INTO @a */",
    ] {
        let statement = read(text, Dialect::Mysql);
        assert!(statement.check(0, true).is_err(), "{text}");
        assert!(statement.leaves_traces() || statement.check(0, false).is_err());
    }
    for text in [
        "SELECT '/*! COMMIT */'",
        "SELECT /* ! COMMIT */ 1",
        "SELECT /*+ MAX_EXECUTION_TIME(9) */ 1",
    ] {
        assert_eq!(read(text, Dialect::Mysql).check(0, true), Ok(()), "{text}");
    }
}

#[test]
fn files_beside_the_provider_are_not_read() {
    for text in [
        "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE t",
        "load xml concurrent local infile 'x' into table t",
        "SET STATEMENT a = 1 FOR LOAD DATA LOCAL INFILE 'x' INTO TABLE t",
    ] {
        let refused = read(text, Dialect::Mysql).check(0, false);
        assert_eq!(refused, Err(StatementError::LocalFile), "{text}");
    }
}

#[test]
fn no_text_has_a_zero_byte() {
    for dialect in ALL {
        for text in ["SELECT 1\0", "SELECT '\0'", "\0", "SELECT 1 -- \0"] {
            assert_eq!(error(text, dialect), StatementError::ZeroByte);
        }
    }
}

#[test]
fn no_transaction_hides_in_a_comment_or_a_text() {
    let hidden = "-- \rBEGIN /*\nSELECT 1 */";
    let refused = read(hidden, Dialect::Postgres).check(0, true);
    assert_eq!(
        refused,
        Err(StatementError::Transaction("BEGIN".to_owned()))
    );
    for dialect in [Dialect::Mysql, Dialect::Sqlite] {
        assert_eq!(read(hidden, dialect).verb, "SELECT");
    }
    let executed = read("EXECUTE IMMEDIATE 'START TRANSACTION'", Dialect::Mysql);
    assert!(executed.leaves_traces());
    assert_eq!(executed.check(0, false), Ok(()));
    assert!(matches!(
        executed.check(0, true),
        Err(StatementError::Commits(_))
    ));
}

#[test]
fn traces_are_seen() {
    let pg = Dialect::Postgres;
    for text in [
        "SET search_path TO x",
        "CREATE TEMP TABLE t (a int)",
        "SELECT set_config('a', 'b', false)",
        "SELECT pg_advisory_lock(1)",
        "SELECT \"pg_advisory_lock\"(1)",
        "CREATE TABLE pg_temp.t (a int)",
        "CREATE TABLE \"pg_temp\".t (a int)",
        "INSERT INTO pg_temp_3.t VALUES (1)",
        "UPDATE pg_settings SET setting = 'x' WHERE name = 'search_path'",
        "WITH a AS (UPDATE \"pg_settings\" SET setting = 'x' RETURNING 1) SELECT * FROM a",
        "SELECT dblink_connect('other', 'dbname=x')",
    ] {
        assert!(read(text, pg).leaves_traces(), "{text}");
    }
    for text in [
        "SELECT 'set_config', 'pg_temp'",
        "INSERT INTO t VALUES ($1)",
        "SELECT \"temp\" FROM weather",
        "SELECT * FROM pg_settings",
    ] {
        assert!(!read(text, pg).leaves_traces(), "{text}");
    }
}

#[test]
fn functions_that_are_named_like_writes_only_read() {
    for text in [
        "SELECT REPLACE(a, 'b', 'c') FROM t",
        "select replace(replace(a, 'b', ''), 'c', '') from t",
        "SELECT INSERT('quadratic', 3, 4, 'what')",
        "WITH x AS (SELECT INSERT(a, 1, 1, '') AS a FROM t) SELECT REPLACE(a, 'b', 'c') FROM x",
        "SELECT 'INSERT INTO t', \"INSERT\" FROM t -- DELETE",
        "SELECT /* INSERT */ REPLACE(a, 'INTO', '') FROM t",
    ] {
        for dialect in ALL {
            assert!(read(text, dialect).reads_only(), "{dialect:?}: {text}");
        }
    }
    assert!(read("SELECT `insert`, `replace` FROM t", Dialect::Mysql).reads_only());
    assert!(read("SELECT [insert] FROM t", Dialect::Sqlite).reads_only());
}

#[test]
fn what_may_write_is_no_function() {
    for text in [
        "WITH x AS (SELECT 1 AS a) INSERT INTO t SELECT REPLACE(a, 'b', 'c') FROM x",
        "WITH x AS (SELECT 1) INSERT INTO t(a) VALUES (REPLACE('a', 'b', 'c'))",
        "WITH x AS (INSERT INTO t (a) VALUES (1) RETURNING a) SELECT a FROM x",
        "WITH x AS (SELECT 1) REPLACE INTO t VALUES (1)",
        "WITH x AS (SELECT 1) INSERT t(a) SELECT 1",
        "WITH x AS (SELECT 1) INSERT (a) SELECT 1",
        "WITH x AS (SELECT 1) INSERT/**/(a) SELECT 1",
        "WITH x AS (SELECT 1) INSERT \"t\"(a) SELECT 1",
        "SELECT REPLACE (a, 'b', 'c') INTO u FROM t",
        "SELECT a INTO u FROM t",
        "INSERT INTO t VALUES (1)",
        "INSERT(a) VALUES (1)",
        "REPLACE(a) VALUES (1)",
        "WITH x AS (DELETE FROM t) SELECT UPDATE(1)",
    ] {
        for dialect in ALL {
            assert!(!read(text, dialect).reads_only(), "{dialect:?}: {text}");
        }
    }
}

#[test]
fn the_number_of_values_is_checked() {
    let statement = read("SELECT ?", Dialect::Postgres);
    assert_eq!(statement.check(1, false), Ok(()));
    let error = statement.check(0, false).unwrap_err().to_string();
    assert!(
        error.contains("1 placeholders and 0 values") && error.contains("`??`"),
        "{error}"
    );
}

/// A text in quotes that a dialect sees as one thing, whatever is in it.
fn quoted(dialect: Dialect) -> impl Strategy<Value = String> {
    let inner = "[a-z?$0-9;'\"\\\\ -]{0,12}".prop_map(move |text: String| match dialect {
        Dialect::Mysql => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
        _ => format!("'{}'", text.replace('\'', "''")),
    });
    prop_oneof![
        inner,
        "[a-z?$0-9; ]{0,12}".prop_map(|text| format!("\"{text}\"")),
        "[a-z?$0-9; ]{0,12}".prop_map(|text| format!("/*{text}*/")),
        "[a-z?$0-9; ]{0,12}".prop_map(|text| format!("-- {text}\n")),
    ]
}

fn statement(dialect: Dialect) -> impl Strategy<Value = (Vec<String>, usize)> {
    let part = prop_oneof![
        quoted(dialect),
        Just(" ? ".to_owned()),
        "[a-z_]{1,6}".prop_map(|word| format!(" {word} ")),
        Just(" + 1.5e3, ".to_owned()),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| {
        let marks = parts.iter().filter(|part| *part == " ? ").count();
        (parts, marks)
    })
}

fn any_dialect() -> impl Strategy<Value = Dialect> {
    prop::sample::select(&ALL[..])
}

proptest! {
    #[test]
    fn only_marks_outside_of_quotes_are_rewritten(
        (dialect, (parts, marks)) in any_dialect().prop_flat_map(|d| (Just(d), statement(d)))
    ) {
        let text = format!("SELECT {}", parts.concat());
        let statement = read(&text, dialect);
        prop_assert_eq!(statement.values, marks);
        let mut number = 0;
        let wanted: String = parts.iter().map(|part| {
            if part != " ? " {
                return part.clone();
            }
            number += 1;
            match dialect {
                Dialect::Postgres => format!(" ${number} "),
                Dialect::Sqlite => format!(" ?{number} "),
                Dialect::Mysql => " ? ".to_owned(),
            }
        }).collect();
        prop_assert_eq!(statement.text, format!("SELECT {wanted}"));
    }

    #[test]
    fn no_text_is_too_odd(text in "\\PC{0,40}", dialect in any_dialect()) {
        let _read = Statement::read(&text, dialect);
    }

    #[test]
    fn no_quote_is_too_odd(text in "[?$'\"`\\[\\]\\\\/*#é\n;@:ae1 -]{0,40}", dialect in any_dialect()) {
        let _read = Statement::read(&text, dialect);
    }
}

#[test]
fn the_table_of_an_insert_is_known() {
    for (text, table) in [
        ("INSERT INTO t VALUES (1)", Some("t")),
        (
            "insert or replace into Main . Logs(a) SELECT 1",
            Some("Logs"),
        ),
        (
            "REPLACE /* INTO no */ INTO \"a\"\"b\" VALUES (1)",
            Some("a\"b"),
        ),
        ("INSERT INTO [my t] DEFAULT VALUES", Some("my t")),
        ("UPDATE t SET a = 'INTO x'", None),
        ("INSERT INTO", None),
    ] {
        assert_eq!(read(text, Dialect::Sqlite).table_of_rows(), table, "{text}");
    }
}
