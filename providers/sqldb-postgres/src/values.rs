//! The values of `lattice:sql` on their way to the server and back.

use std::error::Error;

use bytes::{BufMut as _, BytesMut};
use lattice_postgres::tokio_postgres::Row;
use lattice_postgres::tokio_postgres::types::{
    Format, FromSql, IsNull, Kind, ToSql, Type, to_sql_checked,
};
use lattice_provider_sdk::sql::{self, SqlError, Value};

use crate::binary::{
    Reader, Room, Unreadable, clock, date_text, interval_text, jsonb_text, numeric, timestamp_text,
    uuid_text,
};
use crate::text;

type BoxError = Box<dyn Error + Sync + Send>;

/// A value as a parameter. It goes as text, which the server reads as the type that the statement
/// gives the parameter.
#[derive(Debug)]
pub(crate) struct Parameter<'a>(pub(crate) &'a Value);

impl ToSql for Parameter<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        match self.0 {
            Value::Null => return Ok(IsNull::Yes),
            Value::Boolean(is) => out.put_slice(if *is { b"true" } else { b"false" }),
            Value::Int(number) => out.put_slice(number.to_string().as_bytes()),
            Value::Float(number) => out.put_slice(number.to_string().as_bytes()),
            Value::Bytes(bytes) if *ty == Type::BYTEA => out.put_slice(bytes),
            Value::Bytes(bytes) => out.put_slice(hex(bytes).as_bytes()),
            Value::Decimal(text)
            | Value::Text(text)
            | Value::Date(text)
            | Value::Time(text)
            | Value::Timestamp(text)
            | Value::Uuid(text)
            | Value::Json(text)
            | Value::Other((_, text)) => out.put_slice(text.as_bytes()),
        }
        Ok(IsNull::No)
    }

    fn accepts(_ty: &Type) -> bool {
        true
    }

    fn encode_format(&self, ty: &Type) -> Format {
        match self.0 {
            Value::Bytes(_) if *ty == Type::BYTEA => Format::Binary,
            _ => Format::Text,
        }
    }

    to_sql_checked!();
}

/// Bytes as PostgreSQL writes them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + bytes.len() * 2);
    text.push_str("\\x");
    for byte in bytes {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// The values of a row, one of several for whose texts there is so much room.
pub(crate) fn row_of(row: &Row, room: &mut Room) -> Result<sql::Row, SqlError> {
    let cell = |at: usize| {
        let cell = row.try_get::<_, Cell>(at).map_err(|error| {
            let name = row.columns()[at].name();
            let why = error
                .into_source()
                .map_or_else(String::new, |e| e.to_string());
            SqlError::other(format!(
                "the column `{name}` cannot be read: {why}; cast it to text"
            ))
        })?;
        kept(cell.0, room)
    };
    (0..row.len()).map(cell).collect()
}

/// A value for which there is room: the bytes that came do not tell how long its text is.
fn kept(value: Value, room: &mut Room) -> Result<Value, SqlError> {
    let len = match &value {
        Value::Decimal(text) | Value::Text(text) | Value::Json(text) | Value::Other((_, text)) => {
            text.len()
        }
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    };
    let taken = room.take(len);
    taken.map_err(|_| {
        let why = "the rows of a page are more than 64 MiB of text; ask for fewer at a time";
        SqlError::invalid(why)
    })?;
    Ok(value)
}

/// A value out of a row.
struct Cell(Value);

impl<'a> FromSql<'a> for Cell {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        Ok(Self(value(ty, raw)?))
    }

    fn from_sql_null(_ty: &Type) -> Result<Self, BoxError> {
        Ok(Self(Value::Null))
    }

    fn accepts(_ty: &Type) -> bool {
        true
    }
}

pub(crate) fn value(ty: &Type, raw: &[u8]) -> Result<Value, BoxError> {
    let as_text = |what| Reader::new(what, raw).text().map(str::to_owned);
    Ok(match *ty {
        Type::BOOL => Value::Boolean(Reader::new("bool", raw).u8()? != 0),
        Type::INT2 => Value::Int(Reader::new("int2", raw).i16()?.into()),
        Type::INT4 => Value::Int(Reader::new("int4", raw).i32()?.into()),
        Type::INT8 => Value::Int(Reader::new("int8", raw).i64()?),
        Type::OID => Value::Int(Reader::new("oid", raw).u32()?.into()),
        Type::FLOAT4 => Value::Float(widened(Reader::new("float4", raw).f32()?)),
        Type::FLOAT8 => Value::Float(Reader::new("float8", raw).f64()?),
        Type::NUMERIC => Value::Decimal(numeric(raw)?),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::CHAR | Type::UNKNOWN => {
            Value::Text(as_text("text")?)
        }
        Type::BYTEA => Value::Bytes(raw.to_vec().into()),
        Type::DATE => Value::Date(date_text(raw)?),
        Type::TIME => Value::Time(clock(Reader::new("time", raw).i64()?)?.text()),
        Type::TIMESTAMP => Value::Timestamp(timestamp_text(raw, "")?),
        Type::TIMESTAMPTZ => Value::Timestamp(timestamp_text(raw, "Z")?),
        Type::UUID => Value::Uuid(uuid_text(raw)?),
        Type::JSON => Value::Json(as_text("json")?),
        Type::JSONB => Value::Json(jsonb_text(raw)?.to_owned()),
        Type::INTERVAL => other(ty, interval_text(raw)?),
        _ => match ty.kind() {
            Kind::Domain(inner) => value(inner, raw)?,
            Kind::Enum(_) => Value::Text(as_text("enum")?),
            _ if ty.name() == "citext" => Value::Text(as_text("citext")?),
            _ => other(ty, text::text(ty, raw)?),
        },
    })
}

fn other(ty: &Type, text: String) -> Value {
    Value::Other((ty.name().to_owned(), text))
}

/// The number that a short one is written as: 0.1 rather than 0.10000000149011612.
fn widened(number: f32) -> f64 {
    let written: Result<f64, _> = number.to_string().parse();
    written.unwrap_or_else(|_| f64::from(number))
}

impl From<Unreadable> for SqlError {
    fn from(error: Unreadable) -> Self {
        Self::other(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_refused_whose_texts_are_too_long_together() {
        let long = || Value::Decimal("9".repeat(600_000));
        let mut room = Room::default();
        assert!(kept(long(), &mut room).is_ok() && kept(Value::Int(1), &mut room).is_ok());
        let refused = kept(long(), &mut room).unwrap_err();
        assert!(matches!(refused, SqlError::InvalidParameter(why) if why.contains("64 MiB")));
    }
}
