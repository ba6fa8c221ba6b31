//! Takes a statement apart, as far as quotes and comments go.
//!
//! What is inside of quotes and comments is nobody's business here, so the pieces only have to
//! begin and end where the database sees them begin and end. A quote that is not closed takes the
//! rest of the text; the database says what is wrong with it.

use super::Dialect;

/// A part of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Blanks and comments.
    Blank(&'a str),
    /// A text or a name in quotes.
    Quoted(&'a str),
    /// A name or a key word.
    Word(&'a str),
    /// `?`
    Mark,
    /// `??`
    Escaped,
    /// `$` with a number.
    Number(&'a str),
    /// A parameter or variable with a name, such as `:a`, `@a` or `$a`.
    Named(&'a str),
    /// `;`
    End,
    /// Anything else.
    Other(&'a str),
}

/// The pieces of a text.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    rest: &'a str,
    dialect: Dialect,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str, dialect: Dialect) -> Self {
        Self {
            rest: text,
            dialect,
        }
    }

    /// Cuts the first `len` bytes off.
    fn cut(&mut self, len: usize) -> &'a str {
        let (head, rest) = self.rest.split_at(len);
        self.rest = rest;
        head
    }

    /// How long a quoted thing is that begins at `from` with the byte `quote`.
    fn quoted(&self, from: usize, quote: u8, has_backslash: bool) -> usize {
        let bytes = self.rest.as_bytes();
        let mut at = from + 1;
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b'\\' if has_backslash => at += 2,
                _ if byte == quote && bytes.get(at + 1) == Some(&quote) => at += 2,
                _ if byte == quote => return at + 1,
                _ => at += 1,
            }
        }
        self.boundary(at)
    }

    /// The end of the text, or the next place where it may be cut.
    fn boundary(&self, at: usize) -> usize {
        let mut at = at.min(self.rest.len());
        while !self.rest.is_char_boundary(at) {
            at += 1;
        }
        at
    }

    fn line_comment(&self) -> usize {
        let has_returns = self.dialect == Dialect::Postgres;
        let end = self.rest.find(|c| c == '\n' || (c == '\r' && has_returns));
        end.map_or(self.rest.len(), |at| at + 1)
    }

    /// A comment with an end; those of PostgreSQL stand in one another.
    fn block_comment(&self) -> usize {
        let bytes = self.rest.as_bytes();
        let nests = self.dialect == Dialect::Postgres;
        let (mut depth, mut at) = (1, 2);
        while at < bytes.len() {
            match &bytes[at..] {
                [b'*', b'/', ..] => {
                    depth -= 1;
                    at += 2;
                    if depth == 0 {
                        return at;
                    }
                }
                [b'/', b'*', ..] if nests => {
                    depth += 1;
                    at += 2;
                }
                _ => at += 1,
            }
        }
        bytes.len()
    }

    /// `$tag$ ... $tag$` of PostgreSQL.
    fn dollar_quoted(&self) -> Option<usize> {
        let tag_end = self.rest[1..].find('$')? + 1;
        let tag = &self.rest[..=tag_end];
        let name = &tag[1..tag_end];
        let is_tag = !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(is_inner);
        if !is_tag {
            return None;
        }
        let body = &self.rest[tag.len()..];
        let end = body.find(tag).map(|at| tag.len() + at + tag.len());
        Some(end.unwrap_or(self.rest.len()))
    }

    /// How long a word is that begins at `from`.
    fn word_end(&self, from: usize) -> usize {
        let tail = &self.rest[from..];
        let end = tail.find(|c: char| !is_inner(c) && c != '$');
        from + end.unwrap_or(tail.len())
    }

    fn blank(&self) -> Option<usize> {
        let bytes = self.rest.as_bytes();
        let is_mysql = self.dialect == Dialect::Mysql;
        match bytes {
            [b'-', b'-', ..] => {
                // Two minus signs may be arithmetic there.
                let is_comment = !is_mysql || bytes.get(2).is_none_or(|b| *b <= b' ');
                is_comment.then(|| self.line_comment())
            }
            [b'#', ..] if is_mysql => Some(self.line_comment()),
            // What is in these comments is run.
            [b'/', b'*', b'!', ..] if is_mysql => None,
            [b'/', b'*', b'M', b'!', ..] if is_mysql => None,
            [b'/', b'*', ..] => Some(self.block_comment()),
            [byte, ..] if byte.is_ascii_whitespace() => {
                let end = self.rest.find(|c: char| !c.is_ascii_whitespace());
                Some(end.unwrap_or(self.rest.len()))
            }
            _ => None,
        }
    }

    fn quote(&self) -> Option<usize> {
        let is_mysql = self.dialect == Dialect::Mysql;
        match *self.rest.as_bytes() {
            [quote @ (b'\'' | b'"'), ..] => Some(self.quoted(0, quote, is_mysql)),
            [b'`', ..] if self.dialect != Dialect::Postgres => Some(self.quoted(0, b'`', false)),
            [b'[', ..] if self.dialect == Dialect::Sqlite => {
                let end = self.rest.find(']').map(|at| at + 1);
                Some(end.unwrap_or(self.rest.len()))
            }
            [b'e' | b'E', b'\'', ..] if self.dialect == Dialect::Postgres => {
                Some(self.quoted(1, b'\'', true))
            }
            [b'$', next, ..] if self.dialect == Dialect::Postgres && !next.is_ascii_digit() => {
                self.dollar_quoted()
            }
            _ => None,
        }
    }

    /// How long a parameter or variable with a name is.
    fn named(&self) -> Option<usize> {
        let sign = match self.dialect {
            Dialect::Postgres => return None,
            Dialect::Mysql => &['@'][..],
            Dialect::Sqlite => &['@', ':', '$'][..],
        };
        let mut chars = self.rest.chars();
        let first = chars.next().filter(|c| sign.contains(c))?;
        let second = chars.next().filter(|c| is_inner(*c) || *c == '@')?;
        Some(self.word_end(first.len_utf8() + second.len_utf8()))
    }
}

/// Whether a character can stand inside a word.
fn is_inner(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii()
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let first = self.rest.chars().next()?;
        if let Some(len) = self.blank() {
            return Some(Piece::Blank(self.cut(len)));
        }
        if let Some(len) = self.quote() {
            return Some(Piece::Quoted(self.cut(len)));
        }
        let is_numbered = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        match first {
            '?' if self.rest.starts_with("??") => {
                self.cut(2);
                return Some(Piece::Escaped);
            }
            '?' => {
                self.cut(1);
                return Some(Piece::Mark);
            }
            ';' => {
                self.cut(1);
                return Some(Piece::End);
            }
            '$' if is_numbered(&self.rest[1..]) => {
                let end = self.rest[1..].find(|c: char| !c.is_ascii_digit());
                let number = self.cut(end.map_or(self.rest.len(), |at| at + 1));
                return Some(Piece::Number(&number[1..]));
            }
            _ => {}
        }
        if let Some(len) = self.named() {
            return Some(Piece::Named(self.cut(len)));
        }
        let len = match first {
            _ if is_inner(first) => self.word_end(0),
            _ => first.len_utf8(),
        };
        let text = self.cut(len);
        match first.is_ascii_digit() || !is_inner(first) {
            true => Some(Piece::Other(text)),
            false => Some(Piece::Word(text)),
        }
    }
}
