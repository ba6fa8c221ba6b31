//! The two types of full text search.

use super::BoxError;
use super::bindings::exports::wasmcloud::postgres::query::PgValue;
use super::bindings::wasmcloud::postgres::types::{Lexeme, LexemeWeight};
use crate::binary::{Reader, Room};

/// How deep a query may be, since it is read by recursion.
const DEEPEST: usize = 200;

/// `tsvector`: words with the places where they stand, and how much each of them weighs.
pub(super) fn vector(raw: &[u8]) -> Result<PgValue, BoxError> {
    let mut reader = Reader::new("tsvector", raw);
    let mut lexemes = Vec::new();
    let mut room = Room::default();
    for _ in 0..reader.count()? {
        let data = reader.c_text()?.to_owned();
        let places = reader.u16()?;
        if places == 0 {
            lexemes.push(Lexeme {
                position: None,
                weight: None,
                data,
            });
            continue;
        }
        for _ in 0..places {
            // The upper two bits are the weight.
            let place = reader.u16()?;
            room.take(data.len())?;
            lexemes.push(Lexeme {
                position: Some(place & 0x3fff),
                weight: Some(match place >> 14 {
                    3 => LexemeWeight::A,
                    2 => LexemeWeight::B,
                    1 => LexemeWeight::C,
                    _ => LexemeWeight::D,
                }),
                data: data.clone(),
            });
        }
    }
    Ok(PgValue::TsVector(lexemes))
}

/// Words as `tsvector` is written. The server puts those together that are the same.
pub(super) fn vector_text(lexemes: &[Lexeme]) -> String {
    let words = lexemes.iter().map(|lexeme| {
        let weight = match lexeme.weight {
            Some(LexemeWeight::A) => "A",
            Some(LexemeWeight::B) => "B",
            Some(LexemeWeight::C) => "C",
            Some(LexemeWeight::D) | None => "",
        };
        let word = quoted(&lexeme.data);
        match lexeme.position {
            Some(position) => format!("{word}:{position}{weight}"),
            None => word,
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\\', "\\\\").replace('\'', "''"))
}

/// `tsquery` as it is written.
pub(super) fn query(raw: &[u8]) -> Result<PgValue, BoxError> {
    let mut reader = Reader::new("tsquery", raw);
    let text = match reader.count()? {
        0 => String::new(),
        _ => part(&mut reader, DEEPEST, Around::default())?,
    };
    Ok(PgValue::TsQuery(text))
}

/// What an operator stands in.
#[derive(Debug, Clone, Copy, Default)]
struct Around {
    /// How tightly the operator around it binds; nothing is 0.
    binds: u8,
    /// It stands on the right of a distance, which is not read from the right.
    is_right_of_distance: bool,
}

/// A word, or an operator before its right and then its left side.
fn part(reader: &mut Reader<'_>, depth: usize, around: Around) -> Result<String, BoxError> {
    if depth == 0 {
        return Err("the tsquery is too deep; cast it to text".into());
    }
    if reader.u8()? == 1 {
        return word(reader);
    }
    let operator = reader.u8()?;
    let (binds, sign) = match operator {
        1 => (4, "!".to_owned()),
        2 => (2, "&".to_owned()),
        3 => (1, "|".to_owned()),
        4 => match reader.i16()? {
            1 => (3, "<->".to_owned()),
            distance => (3, format!("<{distance}>")),
        },
        _ => return Err(reader.wrong().into()),
    };
    let within = |is_right_of_distance| Around {
        binds,
        is_right_of_distance,
    };
    let text = match operator {
        1 => format!("!{}", part(reader, depth - 1, within(false))?),
        _ => {
            let right = part(reader, depth - 1, within(operator == 4))?;
            let left = part(reader, depth - 1, within(false))?;
            format!("{left} {sign} {right}")
        }
    };
    let is_apart = binds < around.binds || (operator == 4 && around.is_right_of_distance);
    Ok(match is_apart {
        true => format!("( {text} )"),
        false => text,
    })
}

fn word(reader: &mut Reader<'_>) -> Result<String, BoxError> {
    let weights = reader.u8()?;
    let is_prefix = reader.u8()? != 0;
    let mut text = quoted(reader.c_text()?);
    if weights != 0 || is_prefix {
        text.push(':');
    }
    if is_prefix {
        text.push('*');
    }
    for (bit, letter) in [(8, 'A'), (4, 'B'), (2, 'C'), (1, 'D')] {
        if weights & bit != 0 {
            text.push(letter);
        }
    }
    Ok(text)
}
