//! Where MySQL takes a bare number or placeholder, and no expression.

use crate::sql::lexer::Piece;

/// How near a place is to a `LIMIT` or the like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    Far,
    /// Right behind the word, or a comma of it.
    Begins,
    /// Behind a number of it.
    Goes,
}

impl Limit {
    /// What it is behind the next piece.
    fn after(self, piece: Piece<'_>) -> Self {
        const WORDS: [&str; 5] = ["LIMIT", "OFFSET", "FIRST", "NEXT", "EXAMINED"];
        let is_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        match (self, piece) {
            (_, Piece::Word(word)) if is_one_of(word, &WORDS) => Self::Begins,
            (Self::Begins, Piece::Mark | Piece::Number(_)) => Self::Goes,
            (Self::Begins, Piece::Other(text)) if is_number(text) => Self::Goes,
            (Self::Goes, Piece::Other(",")) => Self::Begins,
            _ => Self::Far,
        }
    }
}

/// A pair of parentheses that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    /// With expressions.
    Plain,
    /// With arguments of a window function, so many commas before the one that counts rows.
    Rows(u8),
    /// With arguments behind those.
    Past,
}

impl Open {
    /// What a parenthesis opens behind a word.
    fn behind(word: Option<&str>) -> Self {
        match word {
            Some(word) if is_one_of(word, &["NTILE"]) => Self::Rows(0),
            Some(word) if is_one_of(word, &["LAG", "LEAD", "NTH_VALUE"]) => Self::Rows(1),
            _ => Self::Plain,
        }
    }

    fn behind_comma(self) -> Self {
        match self {
            Self::Rows(0) => Self::Past,
            Self::Rows(commas) => Self::Rows(commas - 1),
            other => other,
        }
    }
}

/// Follows the pieces of a statement.
#[derive(Debug)]
pub(super) struct Bare<'a> {
    limit: Limit,
    open: Vec<Open>,
    /// The last piece that is not blank, and whether the one before it begins an argument.
    last: Option<Piece<'a>>,
    begins: bool,
}

impl<'a> Bare<'a> {
    pub(super) fn new() -> Self {
        Self {
            limit: Limit::Far,
            open: Vec::new(),
            last: None,
            begins: false,
        }
    }

    /// Takes the next piece; says whether the placeholder before it is to be bare, after all.
    pub(super) fn take(&mut self, piece: Piece<'a>) -> bool {
        if matches!(piece, Piece::Blank(_)) {
            return false;
        }
        self.limit = self.limit.after(piece);
        let last = self.last.replace(piece);
        self.begins = matches!(last, Some(Piece::Other("(" | ",")));
        match piece {
            Piece::Other("(") => {
                let word = match last {
                    Some(Piece::Word(word)) => Some(word),
                    _ => None,
                };
                self.open.push(Open::behind(word));
            }
            Piece::Other(")") => {
                self.open.pop();
            }
            Piece::Other(",") => {
                if let Some(open) = self.open.last_mut() {
                    *open = open.behind_comma();
                }
            }
            _ => {}
        }
        let is_frame = |word: &str| is_one_of(word, &["PRECEDING", "FOLLOWING"]);
        matches!(last, Some(Piece::Mark | Piece::Number(_)))
            && matches!(piece, Piece::Word(word) if is_frame(word))
    }

    /// Whether the placeholder that was taken last has to be bare.
    pub(super) fn is_here(&self) -> bool {
        let counts_rows = self.begins && self.open.last() == Some(&Open::Rows(0));
        counts_rows || self.limit == Limit::Goes
    }
}

fn is_one_of(word: &str, words: &[&str]) -> bool {
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}
