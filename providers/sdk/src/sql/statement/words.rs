//! What the words of a statement say of it.

use super::Kind;
use crate::sql::Dialect;
use crate::sql::lexer::Piece;

/// Words that say that something stays with a connection, but for the names of [`KEEPERS`].
const TRACES: &[&str] = &["TEMP", "TEMPORARY"];

/// Functions that leave something with a connection. As names they may stand in quotes.
const KEEPERS: &[&str] = &[
    "SET_CONFIG",
    "SETSEED",
    "PG_ADVISORY_LOCK",
    "PG_ADVISORY_LOCK_SHARED",
    "PG_TRY_ADVISORY_LOCK",
    "PG_TRY_ADVISORY_LOCK_SHARED",
    "DBLINK_CONNECT",
    "DBLINK_CONNECT_U",
    "GET_LOCK",
];

/// The schema of temporary tables, and what the names of those of other connections begin with.
const TEMPORARY: &str = "PG_TEMP";

/// The settings as a table, which sets one when it is updated.
const SETTINGS: &str = "PG_SETTINGS";

/// Words before which MariaDB or MySQL end a transaction, whatever comes after them. What is executed
/// by name or from a text may be anything, and so may the events of a `BINLOG`.
const COMMITS: &[&str] = &[
    "ALTER",
    "ANALYZE",
    "BACKUP",
    "BINLOG",
    "CACHE",
    "CHANGE",
    "CHECK",
    "CLONE",
    "CREATE",
    "DROP",
    "EXECUTE",
    "FLUSH",
    "GRANT",
    "IMPORT",
    "INSTALL",
    "LOCK",
    "OPTIMIZE",
    "RENAME",
    "REPAIR",
    "RESET",
    "RESTART",
    "REVOKE",
    "SHUTDOWN",
    "STOP",
    "TRUNCATE",
    "UNINSTALL",
    "UNLOCK",
];

const AUTOCOMMIT: &str = "AUTOCOMMIT";

/// The words of a statement, in capitals.
pub(super) struct Words {
    words: Vec<String>,
    /// `PASSWORD` is there, and is no function.
    has_password: bool,
}

impl Words {
    pub(super) fn of(pieces: &[Piece<'_>]) -> Self {
        let words = pieces.iter().filter_map(|piece| match piece {
            Piece::Word(word) | Piece::Named(word) => Some(word.to_ascii_uppercase()),
            // A setting or a function may be written as a name in quotes.
            Piece::Quoted(text) => name_in(text).filter(|name| says_something(name)),
            _ => None,
        });
        Self {
            words: words.collect(),
            has_password: has_password(pieces),
        }
    }

    pub(super) fn first(&self) -> Option<String> {
        self.words.first().cloned()
    }

    pub(super) fn at(&self, at: usize) -> &str {
        word(&self.words, at)
    }

    pub(super) fn has(&self, words: &[&str]) -> bool {
        has(&self.words, words)
    }

    pub(super) fn kind(&self, dialect: Dialect) -> Kind {
        let mut inner = self.inner(dialect).map(|words| kind_of(words, dialect));
        let refused = inner.find(|kind| matches!(kind, Kind::Transaction | Kind::LocalFile));
        refused.unwrap_or_else(|| kind_of(&self.words, dialect))
    }

    /// The statements that MariaDB's `SET STATEMENT … FOR …` may run: what is behind any `FOR`, since
    /// the values before it can have some of their own.
    fn inner(&self, dialect: Dialect) -> impl Iterator<Item = &[String]> {
        let is_around =
            dialect == Dialect::Mysql && self.at(0) == "SET" && self.at(1) == "STATEMENT";
        let count = if is_around { self.words.len() } else { 0 };
        let behind = (0..count).filter(move |at| self.at(*at) == "FOR");
        behind.map(move |at| &self.words[at + 1..])
    }

    pub(super) fn read_only(&self, pieces: &[Piece<'_>]) -> bool {
        match self.at(0) {
            "SELECT" | "WITH" => !says_a_write(pieces),
            "VALUES" | "TABLE" | "SHOW" | "DESCRIBE" | "DESC" => true,
            "EXPLAIN" => !self.has(&["ANALYZE"]),
            _ => false,
        }
    }

    /// Whether MySQL ends a transaction before it.
    pub(super) fn commits(&self, dialect: Dialect) -> bool {
        if dialect != Dialect::Mysql {
            return false;
        }
        let sets_password = self.at(0) == "SET" && self.has_password;
        sets_password || commits(&self.words) || self.inner(dialect).any(commits)
    }
}

fn word(words: &[String], at: usize) -> &str {
    words.get(at).map_or("", String::as_str)
}

fn has(words: &[String], any: &[&str]) -> bool {
    words.iter().any(|word| any.contains(&word.as_str()))
}

/// Whether two words are there, one after the other.
fn has_pair(words: &[String], first: &str, second: &str) -> bool {
    words
        .windows(2)
        .any(|pair| pair[0] == first && pair[1] == second)
}

fn kind_of(words: &[String], dialect: Dialect) -> Kind {
    let is_mysql = dialect == Dialect::Mysql;
    match word(words, 0) {
        "BEGIN" | "START" | "COMMIT" | "END" | "ABORT" | "XA" => Kind::Transaction,
        "ROLLBACK" if has(words, &["TO"]) => Kind::Point,
        "ROLLBACK" => Kind::Transaction,
        "PREPARE" if word(words, 1) == "TRANSACTION" => Kind::Transaction,
        // Setting it commits.
        "SET" if has(words, &[AUTOCOMMIT, "@@AUTOCOMMIT"]) => Kind::Transaction,
        "SAVEPOINT" | "RELEASE" => Kind::Point,
        "COPY" => Kind::Copy,
        "LOAD" if is_mysql && has_pair(words, "LOCAL", "INFILE") => Kind::LocalFile,
        "SET" | "RESET" | "DISCARD" | "LISTEN" | "UNLISTEN" | "PREPARE" | "DEALLOCATE"
        | "DECLARE" | "LOAD" | "USE" | "PRAGMA" | "HANDLER" | "DO" | "CALL" | "EXECUTE" => {
            Kind::Traces
        }
        // Locks that the connection keeps.
        "LOCK" | "FLUSH" | "BACKUP" if is_mysql => Kind::Traces,
        _ if has(words, TRACES) || words.iter().any(|word| is_keeper(word)) => Kind::Traces,
        _ if has(words, &[SETTINGS]) && has(words, &["UPDATE"]) => Kind::Traces,
        _ if is_mysql && words.iter().any(|word| word.starts_with('@')) => Kind::Traces,
        _ => Kind::Plain,
    }
}

/// Whether MySQL ends a transaction before a statement of these words.
fn commits(words: &[String]) -> bool {
    let second = word(words, 1);
    match word(words, 0) {
        // Sequences end it, even such.
        "CREATE" | "DROP" if second == "TEMPORARY" => word(words, 2) != "TABLE",
        "LOAD" => second == "INDEX",
        "SET" => has_pair(words, "DEFAULT", "ROLE"),
        first => COMMITS.contains(&first),
    }
}

/// Whether a name is that of something which leaves, or keeps, something with a connection.
fn is_keeper(word: &str) -> bool {
    KEEPERS.contains(&word) || word.starts_with(TEMPORARY)
}

/// What a text in quotes names, in capitals, if it can be a name.
fn name_in(quoted: &str) -> Option<String> {
    let inner = quoted.strip_prefix(['`', '"'])?;
    let inner = inner.strip_suffix(['`', '"'])?;
    Some(inner.to_ascii_uppercase())
}

/// Whether a name in quotes says something of its statement.
fn says_something(name: &str) -> bool {
    name == AUTOCOMMIT || name == SETTINGS || is_keeper(name)
}

fn has_password(pieces: &[Piece<'_>]) -> bool {
    pieces.iter().enumerate().any(|(at, piece)| match piece {
        Piece::Word(word) if word.eq_ignore_ascii_case("PASSWORD") => {
            let mut after = pieces[at + 1..].iter();
            let next = after.find(|piece| !matches!(piece, Piece::Blank(_)));
            !matches!(next, Some(Piece::Other("(")))
        }
        _ => false,
    })
}

/// Whether a word of a query may write.
///
/// `REPLACE(` and `INSERT(` are functions of texts there: a statement that writes has a name
/// between its verb and a parenthesis. With a blank between the two nobody is believed.
fn says_a_write(pieces: &[Piece<'_>]) -> bool {
    const WRITES: [&str; 6] = ["INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE", "INTO"];
    const FUNCTIONS: [&str; 2] = ["INSERT", "REPLACE"];
    let is_one_of =
        |word: &str, words: &[&str]| words.iter().any(|one| word.eq_ignore_ascii_case(one));
    pieces.iter().enumerate().any(|(at, piece)| match piece {
        Piece::Word(word) if is_one_of(word, &FUNCTIONS) => {
            !matches!(pieces.get(at + 1), Some(Piece::Other("(")))
        }
        Piece::Word(word) | Piece::Named(word) => is_one_of(word, &WRITES),
        _ => false,
    })
}
