//! A statement with its placeholders in the form that its database takes.

mod bare;
mod words;

use super::lexer::{Lexer, Piece};
use super::{Dialect, SqlError, Value};
use bare::Bare;
use words::Words;

/// What a statement cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// There is none.
    #[error("the statement is empty")]
    Empty,
    /// There is a zero byte in it, at which databases and their clients may stop to read.
    #[error(
        "there is a zero byte in the text of the statement; give a value that has one as a parameter"
    )]
    ZeroByte,
    /// There are several.
    #[error("there are several statements in one; run them one after the other")]
    Several,
    /// Both kinds of placeholders are in it.
    #[error("the statement has both `?` and `$1`; use one kind")]
    Mixed,
    /// A number is missing, zero or too large.
    #[error("the placeholders have to be numbered from `$1` on, without a gap; `${0}` is missing")]
    Gap(usize),
    /// There are more than the database takes.
    #[error("the statement takes more than {0} values")]
    TooMany(usize),
    /// It is of another kind.
    #[error("`{0}` is no placeholder here; use `?` or `$1`")]
    Foreign(String),
    /// An operator that only PostgreSQL has.
    #[error("`??` stands for an operator of PostgreSQL, which this database does not have")]
    Escaped,
    /// It begins or ends a transaction.
    #[error("`{0}` is not taken as a statement; use the functions begin, commit and rollback")]
    Transaction(String),
    /// It only means something in a transaction.
    #[error("`{0}` needs a transaction")]
    Outside(String),
    /// The database would commit before it.
    #[error("`{0}` would end the transaction in this database; run it without one")]
    Commits(String),
    /// It would need a stream of data beside the call.
    #[error("`COPY` needs a stream of data, which a call does not have; use execute-many")]
    Copy,
    /// It would read a file of the machine on which the provider runs.
    #[error(
        "`LOAD … LOCAL` would read a file beside the provider, not the component's; use execute-many"
    )]
    LocalFile,
    /// What it does in a transaction cannot be told.
    #[error(
        "what is in a comment such as `/*! … */` is run or not by the version of the server, and may end the transaction; write the statement without it, or run it without a transaction"
    )]
    Conditional,
    /// The values are more or fewer.
    #[error("the statement has {placeholders} placeholders and {values} values{}", hint(*.placeholders, *.values))]
    Values {
        /// How many it takes.
        placeholders: usize,
        /// How many there are.
        values: usize,
    },
}

fn hint(placeholders: usize, values: usize) -> &'static str {
    match placeholders > 0 && values == 0 {
        true => "; an operator `?` of PostgreSQL is written `??`",
        false => "",
    }
}

impl From<StatementError> for SqlError {
    fn from(error: StatementError) -> Self {
        Self::invalid(error.to_string())
    }
}

/// What a statement means for transactions and for its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    /// Begins or ends a transaction.
    Transaction,
    /// Sets or goes back to a point in one.
    Point,
    /// Leaves something with its connection.
    Traces,
    Copy,
    /// Reads a file of the client's, which is the provider here.
    LocalFile,
}

/// A statement with its placeholders in the form that its database takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    text: String,
    /// Which value each placeholder takes, where they have no numbers.
    order: Vec<usize>,
    /// Where they are in the text, in bytes, but for those that nothing else may replace; only for
    /// [`Dialect::Mysql`].
    places: Vec<Option<usize>>,
    values: usize,
    verb: String,
    into: Option<String>,
    kind: Kind,
    commits: bool,
    /// A part of it counts or not by the version of the server.
    is_conditional: bool,
    reads_only: bool,
}

impl Statement {
    /// Reads a statement.
    ///
    /// ```
    /// use lattice_provider_sdk::sql::{Dialect, Statement};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let text = "SELECT '?' FROM t WHERE a = ? AND b = ?";
    /// let statement = Statement::read(text, Dialect::Postgres)?;
    /// assert_eq!(statement.text(), "SELECT '?' FROM t WHERE a = $1 AND b = $2");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`StatementError`].
    pub fn read(text: &str, dialect: Dialect) -> Result<Self, StatementError> {
        if text.contains('\0') {
            return Err(StatementError::ZeroByte);
        }
        let pieces: Vec<_> = Lexer::new(text, dialect).collect();
        let words = Words::of(&pieces);
        let Some(verb) = words.first() else {
            return Err(StatementError::Empty);
        };
        check_single(&pieces, &words)?;
        let mut rewriting = Rewriting::new(&pieces, dialect, text.len());
        for piece in &pieces {
            rewriting.take(*piece)?;
        }
        let values = rewriting.values()?;
        Ok(Self {
            text: rewriting.text,
            order: rewriting.order,
            places: rewriting.places,
            values,
            kind: match words.kind(dialect) {
                Kind::Plain if may_be_conditional(text, dialect) => Kind::Traces,
                kind => kind,
            },
            commits: words.commits(dialect),
            is_conditional: dialect == Dialect::Mysql && has_conditional(&pieces),
            reads_only: words.read_only(&pieces),
            into: table_after_into(&pieces),
            verb,
        })
    }

    /// The text for the database.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text for MySQL with something else in the place of placeholders: `mark` is asked for each,
    /// by its number from 0 on. Where the grammar takes a bare number or nothing, as behind `LIMIT` and
    /// in the frame of a window, it stays.
    #[must_use]
    pub fn text_with(&self, mark: impl Fn(usize) -> Option<String>) -> String {
        let mut text = String::with_capacity(self.text.len());
        let mut from = 0;
        for (at, place) in self.places.iter().enumerate() {
            let Some(place) = *place else {
                continue;
            };
            if let Some(mark) = mark(at) {
                text.push_str(&self.text[from..place]);
                text.push_str(&mark);
                from = place + 1;
            }
        }
        text.push_str(&self.text[from..]);
        text
    }

    /// The first word in capitals, such as `SELECT`.
    #[must_use]
    pub fn verb(&self) -> &str {
        &self.verb
    }

    /// The table that is named behind the first `INTO`, without its schema and quotes: where an `INSERT`
    /// puts its rows.
    #[must_use]
    pub fn table_of_rows(&self) -> Option<&str> {
        self.into.as_deref()
    }

    /// Whether its connection is not as before afterwards: a setting, a temporary table, a lock, or
    /// a transaction.
    #[must_use]
    pub fn leaves_traces(&self) -> bool {
        !matches!(self.kind, Kind::Plain | Kind::Point)
    }

    /// Whether it surely changes nothing that a transaction would undo, functions apart.
    #[must_use]
    pub fn reads_only(&self) -> bool {
        self.reads_only
    }

    /// Whether a transaction around it undoes it, in every database.
    #[must_use]
    pub fn can_be_undone(&self) -> bool {
        const VERBS: [&str; 7] = [
            "INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE", "WITH", "SELECT",
        ];
        self.kind == Kind::Plain && VERBS.contains(&self.verb.as_str())
    }

    /// The values in the order of the placeholders, for a database whose placeholders have no
    /// numbers.
    #[must_use]
    pub fn in_order(&self, values: Vec<Value>) -> Vec<Value> {
        if self.order.iter().copied().eq(0..values.len()) {
            return values;
        }
        let taken = self.order.iter().filter_map(|at| values.get(*at));
        taken.cloned().collect()
    }

    /// Whether the statement may run with so many values, in a transaction or not.
    ///
    /// # Errors
    ///
    /// [`StatementError`].
    pub fn check(&self, values: usize, in_transaction: bool) -> Result<(), StatementError> {
        let verb = || self.verb.clone();
        match self.kind {
            Kind::Transaction => return Err(StatementError::Transaction(verb())),
            Kind::Point if !in_transaction => return Err(StatementError::Outside(verb())),
            Kind::Copy => return Err(StatementError::Copy),
            Kind::LocalFile => return Err(StatementError::LocalFile),
            _ if in_transaction && self.is_conditional => return Err(StatementError::Conditional),
            _ if in_transaction && self.commits => return Err(StatementError::Commits(verb())),
            _ => {}
        }
        if values != self.values {
            return Err(StatementError::Values {
                placeholders: self.values,
                values,
            });
        }
        Ok(())
    }
}

/// The last part of the name behind the first `INTO`.
fn table_after_into(pieces: &[Piece<'_>]) -> Option<String> {
    let mut pieces = pieces
        .iter()
        .filter(|piece| !matches!(piece, Piece::Blank(_)));
    let is_into = |word: &str| word.eq_ignore_ascii_case("INTO");
    pieces.find(|piece| matches!(piece, Piece::Word(word) if is_into(word)))?;
    let mut name = pieces.next()?;
    while pieces.next() == Some(&Piece::Other(".")) {
        name = pieces.next()?;
    }
    match *name {
        Piece::Word(word) => Some(word.to_owned()),
        Piece::Quoted(text) => unquoted(text),
        _ => None,
    }
}

/// A name without its quotes.
fn unquoted(text: &str) -> Option<String> {
    let quote = text.chars().next()?;
    let end = if quote == '[' { ']' } else { quote };
    let name = text.strip_prefix(quote)?.strip_suffix(end)?;
    Some(name.replace(&format!("{end}{end}"), &end.to_string()))
}

/// Whether MySQL may read more in a text than we do: what stands in a comment such as `/*!50000 … */`
/// counts or not by the version of the server. Quotes are not looked at: which those are depends on
/// how the server is set up.
fn may_be_conditional(text: &str, dialect: Dialect) -> bool {
    dialect == Dialect::Mysql && (text.contains("/*!") || text.contains("/*M!"))
}

/// Whether there is such a comment outside of quotes. What is in it may end where its server sees an
/// end and we see a quote, so that none of its words can be relied upon.
fn has_conditional(pieces: &[Piece<'_>]) -> bool {
    (0..pieces.len()).any(|at| {
        matches!(
            &pieces[at..],
            [Piece::Other("/"), Piece::Other("*"), Piece::Other("!"), ..]
                | [
                    Piece::Other("/"),
                    Piece::Other("*"),
                    Piece::Word("M"),
                    Piece::Other("!"),
                    ..
                ]
        )
    })
}

/// Refuses several statements. Bodies of routines and triggers have some of their own.
fn check_single(pieces: &[Piece<'_>], words: &Words) -> Result<(), StatementError> {
    if words.at(0) == "CREATE" && words.has(&["BEGIN"]) {
        return Ok(());
    }
    let mut after = pieces.iter().skip_while(|piece| **piece != Piece::End);
    match after.all(|piece| matches!(piece, Piece::End | Piece::Blank(_))) {
        true => Ok(()),
        false => Err(StatementError::Several),
    }
}

/// Writes the text again with other placeholders.
struct Rewriting<'a> {
    dialect: Dialect,
    is_numbered: bool,
    text: String,
    order: Vec<usize>,
    places: Vec<Option<usize>>,
    bare: Bare<'a>,
    after_mark: bool,
}

impl<'a> Rewriting<'a> {
    fn new(pieces: &[Piece<'a>], dialect: Dialect, len: usize) -> Self {
        let is_number = |piece: &Piece<'_>| matches!(piece, Piece::Number(_));
        Self {
            dialect,
            is_numbered: pieces.iter().any(is_number),
            text: String::with_capacity(len + 16),
            order: Vec::new(),
            places: Vec::new(),
            bare: Bare::new(),
            after_mark: false,
        }
    }

    fn take(&mut self, piece: Piece<'a>) -> Result<(), StatementError> {
        let after_mark = std::mem::take(&mut self.after_mark);
        if self.bare.take(piece)
            && let Some(place) = self.places.last_mut()
        {
            *place = None;
        }
        match piece {
            Piece::Mark if !self.is_numbered => {
                self.after_mark = true;
                self.place(self.order.len())?;
            }
            // There they are operators.
            Piece::Mark if self.dialect == Dialect::Postgres => self.text.push('?'),
            Piece::Escaped if self.dialect == Dialect::Postgres => {
                let operator = if self.is_numbered { "??" } else { "?" };
                self.text.push_str(operator);
            }
            Piece::Mark => return Err(StatementError::Mixed),
            Piece::Escaped => return Err(StatementError::Escaped),
            Piece::Number(number) => {
                let most = self.dialect.max_parameters();
                let number = number.parse().unwrap_or(usize::MAX);
                match number {
                    0 => return Err(StatementError::Foreign("$0".to_owned())),
                    _ if number > most => return Err(StatementError::TooMany(most)),
                    _ => self.place(number - 1)?,
                }
            }
            Piece::Named(name) if self.dialect == Dialect::Sqlite => {
                return Err(StatementError::Foreign(name.to_owned()));
            }
            // The text would run into the number of the placeholder.
            Piece::Word(text) | Piece::Other(text)
                if after_mark && text.starts_with(|c: char| c.is_alphanumeric()) =>
            {
                return Err(StatementError::Foreign(format!("?{text}")));
            }
            Piece::End => self.text.push(';'),
            Piece::Blank(text)
            | Piece::Quoted(text)
            | Piece::Word(text)
            | Piece::Named(text)
            | Piece::Other(text) => self.text.push_str(text),
        }
        Ok(())
    }

    fn place(&mut self, value: usize) -> Result<(), StatementError> {
        let most = self.dialect.max_parameters();
        if self.order.len() >= most {
            return Err(StatementError::TooMany(most));
        }
        self.order.push(value);
        let number = value + 1;
        match self.dialect {
            Dialect::Postgres => self.text.push_str(&format!("${number}")),
            Dialect::Sqlite => self.text.push_str(&format!("?{number}")),
            Dialect::Mysql => {
                let is_free = !self.bare.is_here();
                self.places.push(is_free.then_some(self.text.len()));
                self.text.push('?');
            }
        }
        Ok(())
    }

    /// How many values there have to be.
    fn values(&self) -> Result<usize, StatementError> {
        let count = self.order.iter().max().map_or(0, |most| most + 1);
        let mut is_there = vec![false; count];
        for value in &self.order {
            is_there[*value] = true;
        }
        match is_there.iter().position(|there| !there) {
            Some(missing) => Err(StatementError::Gap(missing + 1)),
            None => Ok(count),
        }
    }
}

#[cfg(test)]
mod tests;
