//! Whether a statement in SQL changes nothing, as far as its words tell.
//!
//! Every word of the text counts, also one in a comment or a literal: databases differ in what is
//! one, and what is a literal here must not be a command there. Functions that change something
//! when they are selected are not seen; only a user without the right to write stops these.

/// The words that a statement may begin with.
const READS: [&str; 5] = ["select", "values", "table", "with", "show"];

/// The words that let such a statement write, or lock what it reads.
const WRITES: [&str; 12] = [
    "insert", "update", "delete", "merge", "replace", "into", "share", "truncate", "drop", "alter",
    "create", "execute",
];

/// Whether a text is one statement that only reads.
pub(super) fn only_reads(text: &str) -> bool {
    let text = text.trim();
    let text = text.strip_suffix(';').unwrap_or(text).trim_end();
    // NULL for MySQL and its kin, which take what follows it at once for the next word.
    let text = &text.replace("\\N", " ");
    let mut words = text
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty());
    let is_one =
        |word: &str, known: &[&str]| known.iter().any(|one| word.eq_ignore_ascii_case(one));
    let begins = text
        .trim_start_matches(['(', ' ', '\t', '\r', '\n'])
        .starts_with(|c: char| c.is_ascii_alphabetic());
    begins
        && !text.contains(';')
        && words.next().is_some_and(|word| is_one(word, &READS))
        && !words.any(|word| is_one(word, &WRITES) || is_glued(word))
}

/// Whether a word that writes may hang on a number: some databases read `1INTO` as `1 INTO`, and
/// `1e1INTO` and `1.e1INTO` as well.
fn is_glued(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    let exponent = word.strip_prefix('e').unwrap_or(&word);
    exponent.starts_with(char::is_numeric) && WRITES.iter().any(|write| word.contains(write))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_read_pass() {
        for text in [
            "SELECT 1",
            " select a, b from t where c = ? ; ",
            "(SELECT a FROM t) UNION (SELECT b FROM u)",
            "WITH x AS (SELECT 1) SELECT * FROM x",
            "VALUES (1), (2)",
            "TABLE t",
            "SHOW TABLES",
            "select updated_at, deleted from t",
            "SELECT 1e10, 0xFF, 1_000, x1into, 2nd, e1, 1.e5 FROM t",
            "SELECT a FROM t WHERE b LIKE '\\N%' OR c = '\\n'",
        ] {
            assert!(only_reads(text), "{text}");
        }
    }

    #[test]
    fn statements_that_may_write_do_not() {
        for text in [
            "",
            ";",
            "DELETE FROM t RETURNING *",
            "insert into t values (1)",
            "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
            "SELECT * INTO u FROM t",
            "SELECT 1 INTO OUTFILE '/tmp/x'",
            "SELECT 1INTO t",
            "SELECT 1.5into u FROM t",
            "SELECT 1e1INTO OUTFILE '/tmp/x'",
            "SELECT 1e-5INTO OUTFILE '/tmp/x'",
            "SELECT 1.e1INTO OUTFILE '/tmp/x'",
            "SELECT 1.E1into t FROM u",
            "SELECT \\NINTO OUTFILE '/tmp/x'",
            "SELECT \\NINTO @v",
            "SELECT $1INTO t",
            "SELECT 0xAinto t",
            "SELECT 1e1for_update_INTO t",
            "SELECT * FROM t WHERE a = 1FOR UPDATE",
            "SELECT * FROM t FOR UPDATE",
            "SELECT * FROM t FOR SHARE",
            "SELECT 1; DROP TABLE t",
            "SELECT ';' ",
            "EXPLAIN ANALYZE DELETE FROM t",
            "EXPLAIN SELECT 1",
            "/* x */ SELECT 1",
            "-- SELECT\nDELETE FROM t",
            "/*! DELETE */ SELECT 1",
            "SELECT 1 /*!50000 INTO OUTFILE 'x' */",
            "SELECT '\\' UNION DELETE",
            "CALL p()",
            "PRAGMA user_version = 2",
            "SET x = 1",
            "ATTACH 'x' AS y",
            "1 SELECT",
        ] {
            assert!(!only_reads(text), "{text}");
        }
    }
}
