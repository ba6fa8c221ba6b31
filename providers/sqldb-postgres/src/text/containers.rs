//! What holds other values: arrays, ranges, rows.

use lattice_postgres::tokio_postgres::types::{Field, Type};

use super::{BoxError, Writing};
use crate::binary::{Reader, Unreadable};

type Written = Result<String, BoxError>;

/// How many dimensions an array of the server has at most.
const MOST_DIMENSIONS: usize = 6;

/// How long an array is in one direction, and the number of its first item.
struct Dimension {
    len: i32,
    first: i32,
}

/// `{1,NULL,"two words"}`, one in another for each dimension.
pub(super) fn array(item: &Type, raw: &[u8], writing: &mut Writing) -> Written {
    let mut reader = Reader::new("array", raw);
    let dimensions = dimensions(&mut reader)?;
    if dimensions.is_empty() {
        return Ok("{}".to_owned());
    }
    let mut out = String::new();
    if dimensions.iter().any(|dimension| dimension.first != 1) {
        for Dimension { len, first } in &dimensions {
            let last = i64::from(*first) + i64::from(*len) - 1;
            out.push_str(&format!("[{first}:{last}]"));
        }
        out.push('=');
    }
    let mut items = Items {
        reader,
        ty: item,
        // The only type whose items are not parted by a comma.
        between: if *item == Type::BOX { ';' } else { ',' },
        writing,
    };
    items.write(&dimensions, &mut out)?;
    Ok(out)
}

fn dimensions(reader: &mut Reader<'_>) -> Result<Vec<Dimension>, Unreadable> {
    let count = reader.count()?;
    if count > MOST_DIMENSIONS {
        return Err(reader.wrong());
    }
    let _has_nulls = reader.i32()?;
    let _item = reader.u32()?;
    let mut all = Vec::new();
    for _ in 0..count {
        let (len, first) = (reader.i32()?, reader.i32()?);
        if len < 1 {
            return Err(reader.wrong());
        }
        all.push(Dimension { len, first });
    }
    Ok(all)
}

/// The items of an array, front to back.
struct Items<'a> {
    reader: Reader<'a>,
    ty: &'a Type,
    between: char,
    writing: &'a mut Writing,
}

impl Items<'_> {
    fn write(&mut self, dimensions: &[Dimension], out: &mut String) -> Result<(), BoxError> {
        let Some((outer, inner)) = dimensions.split_first() else {
            return self.one(out);
        };
        out.push('{');
        for at in 0..outer.len {
            if at > 0 {
                out.push(self.between);
            }
            self.write(inner, out)?;
        }
        out.push('}');
        Ok(())
    }

    fn one(&mut self, out: &mut String) -> Result<(), BoxError> {
        let Some(raw) = self.reader.piece()? else {
            out.push_str("NULL");
            return Ok(());
        };
        let text = self.writing.value(self.ty, raw)?;
        let special = |c: char| matches!(c, '"' | '\\' | '{' | '}') || c == self.between;
        let is_plain = !text.is_empty()
            && !text.eq_ignore_ascii_case("null")
            && !text.chars().any(|c| special(c) || is_blank(c));
        if is_plain {
            out.push_str(&text);
            return Ok(());
        }
        out.push('"');
        for c in text.chars() {
            if matches!(c, '"' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
        out.push('"');
        Ok(())
    }
}

/// Blanks as the server sees them.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
}

/// `1 2 3`.
pub(super) fn vector(item: &Type, raw: &[u8], writing: &mut Writing) -> Written {
    let items = crate::binary::items(raw)?.into_iter();
    let texts: Result<Vec<_>, _> = items.map(|raw| writing.value(item, raw)).collect();
    Ok(texts?.join(" "))
}

/// `[1,5)`, with bits for its ends before them.
pub(super) fn range(bound: &Type, raw: &[u8], writing: &mut Writing) -> Written {
    let mut reader = Reader::new("range", raw);
    let flags = reader.u8()?;
    let has = |bit: u8| flags & bit != 0;
    if has(1) {
        return Ok("empty".to_owned());
    }
    let mut end = |is_open: bool, out: &mut String| match is_open {
        true => Ok(()),
        false => {
            let raw = reader.piece()?.ok_or(Unreadable("range"))?;
            push_part(out, &writing.value(bound, raw)?, is_special_in_range);
            Ok::<_, BoxError>(())
        }
    };
    let mut out = if has(2) { "[" } else { "(" }.to_owned();
    end(has(8), &mut out)?;
    out.push(',');
    end(has(16), &mut out)?;
    out.push(if has(4) { ']' } else { ')' });
    Ok(out)
}

fn is_special_in_range(c: char) -> bool {
    matches!(c, '[' | ']') || is_special_in_record(c)
}

/// `{[1,3),[5,7)}`.
pub(super) fn multirange(bound: &Type, raw: &[u8], writing: &mut Writing) -> Written {
    let mut reader = Reader::new("multirange", raw);
    let mut texts = Vec::new();
    for _ in 0..reader.count()? {
        let raw = reader.piece()?.ok_or(Unreadable("multirange"))?;
        texts.push(range(bound, raw, writing)?);
    }
    Ok(format!("{{{}}}", texts.join(",")))
}

/// `(1,"two words",)`, of a composite type with these fields or of none.
pub(super) fn record(fields: &[Field], raw: &[u8], writing: &mut Writing) -> Written {
    let mut reader = Reader::new("row", raw);
    let mut out = "(".to_owned();
    for at in 0..reader.count()? {
        if at > 0 {
            out.push(',');
        }
        let oid = reader.u32()?;
        let Some(raw) = reader.piece()? else {
            continue;
        };
        let mut named = fields.iter().map(Field::type_);
        let ty = match named.find(|ty| ty.oid() == oid) {
            Some(ty) => ty.clone(),
            None => Type::from_oid(oid).ok_or_else(|| {
                format!("the row has a value of type number {oid}, which is not built in")
            })?,
        };
        push_part(&mut out, &writing.value(&ty, raw)?, is_special_in_record);
    }
    out.push(')');
    Ok(out)
}

fn is_special_in_record(c: char) -> bool {
    matches!(c, '"' | '\\' | '(' | ')' | ',') || is_blank(c)
}

/// A part of a range or row, in quotes where it has to be.
fn push_part(out: &mut String, text: &str, is_special: fn(char) -> bool) {
    if !text.is_empty() && !text.chars().any(is_special) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push(c);
        }
        out.push(c);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;

    fn piece(bytes: &[u8]) -> Vec<u8> {
        let len = i32::try_from(bytes.len()).unwrap();
        [&len.to_be_bytes(), bytes].concat()
    }

    fn array_of(dimensions: &[(i32, i32)], items: &[Option<&str>]) -> Vec<u8> {
        let mut raw = Vec::new();
        let count = i32::try_from(dimensions.len()).unwrap();
        for number in [count, 1, 25] {
            raw.extend(number.to_be_bytes());
        }
        for (len, first) in dimensions {
            raw.extend(len.to_be_bytes());
            raw.extend(first.to_be_bytes());
        }
        for item in items {
            match item {
                Some(text) => raw.extend(piece(text.as_bytes())),
                None => raw.extend((-1_i32).to_be_bytes()),
            }
        }
        raw
    }

    #[test]
    fn arrays_are_written_with_nulls_quotes_and_dimensions() {
        let of = |dimensions: &[_], items: &[_]| {
            text(&Type::TEXT_ARRAY, &array_of(dimensions, items)).unwrap()
        };
        assert_eq!(of(&[], &[]), "{}");
        assert_eq!(
            of(&[(4, 1)], &[Some("a"), None, Some("null"), Some("")]),
            r#"{a,NULL,"null",""}"#
        );
        let quoted = [Some("a b"), Some("c\"d"), Some("e\\f"), Some("g,{h}")];
        assert_eq!(
            of(&[(2, 1), (2, 1)], &quoted),
            r#"{{"a b","c\"d"},{"e\\f","g,{h}"}}"#
        );
        assert_eq!(of(&[(1, -1)], &[Some("a")]), "[-1:-1]={a}");
    }

    /// A text in a row, which is in a row, and so on.
    fn rows(inner: &str, deep: usize) -> Vec<u8> {
        let mut row = inner.as_bytes().to_vec();
        for at in 0..deep {
            let oid: u32 = if at == 0 { 25 } else { 2249 };
            row = [&1_i32.to_be_bytes()[..], &oid.to_be_bytes(), &piece(&row)].concat();
        }
        row
    }

    #[test]
    fn what_claims_more_than_is_there_is_refused() {
        let endless = array_of(&[(i32::MAX, 1), (i32::MAX, 1)], &[Some("a")]);
        assert!(text(&Type::TEXT_ARRAY, &endless).is_err());
        assert!(text(&Type::TEXT_ARRAY, &array_of(&[(0, 1)], &[])).is_err());
        let error = text(&Type::RECORD, &rows("", 100)).unwrap_err().to_string();
        assert!(error.contains("too deep"), "{error}");
    }

    #[test]
    fn rows_in_rows_do_not_fill_the_memory_with_quotes() {
        let some = text(&Type::RECORD, &rows("a b", 3)).unwrap();
        assert_eq!(some, r#"("(""(""""a b"""")"")")"#);
        let many = text(&Type::RECORD, &rows(&"\"".repeat(8192), 10)).unwrap_err();
        assert!(many.to_string().contains("64 MiB"), "{many}");
    }

    #[test]
    fn rows_of_types_that_are_not_built_in_are_refused() {
        let row = [
            &1_i32.to_be_bytes()[..],
            &99_999_u32.to_be_bytes(),
            &piece(b"a"),
        ]
        .concat();
        let error = text(&Type::RECORD, &row).unwrap_err().to_string();
        assert!(error.contains("99999"), "{error}");
    }
}
