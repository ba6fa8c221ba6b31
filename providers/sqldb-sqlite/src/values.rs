//! Values on their way into SQLite and out of it.

use lattice_provider_sdk::sql::{SqlError, Value};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};

/// A value as a parameter.
pub(crate) struct Parameter<'a>(pub(crate) &'a Value);

/// What SQLite cannot keep.
#[derive(Debug, thiserror::Error)]
#[error("SQLite keeps no number that is none (NaN); use null")]
struct NotANumber;

impl ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match self.0 {
            Value::Null => ValueRef::Null,
            Value::Boolean(is) => ValueRef::Integer((*is).into()),
            Value::Int(number) => ValueRef::Integer(*number),
            Value::Float(number) if number.is_nan() => {
                let error = rusqlite::Error::ToSqlConversionFailure(NotANumber.into());
                return Err(error);
            }
            Value::Float(number) => ValueRef::Real(*number),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
            Value::Decimal(text)
            | Value::Text(text)
            | Value::Date(text)
            | Value::Time(text)
            | Value::Timestamp(text)
            | Value::Uuid(text)
            | Value::Json(text)
            | Value::Other((_, text)) => ValueRef::Text(text.as_bytes()),
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

/// What the declared type of a column says that its values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As they are kept.
    Plain,
    Boolean,
    Decimal,
    Date,
    Time,
    Timestamp,
    Uuid,
    Json,
}

impl Kind {
    /// Reads a declared type such as `DECIMAL(10, 2)`.
    pub(crate) fn of(declared: Option<&str>) -> Self {
        let declared = declared.unwrap_or_default().to_ascii_uppercase();
        let word = declared.split(|c: char| !c.is_alphanumeric()).next();
        match word.unwrap_or_default() {
            "BOOLEAN" | "BOOL" => Self::Boolean,
            "DECIMAL" | "NUMERIC" => Self::Decimal,
            "DATE" => Self::Date,
            "TIME" => Self::Time,
            "TIMESTAMP" | "DATETIME" | "TIMESTAMPTZ" => Self::Timestamp,
            "UUID" => Self::Uuid,
            "JSON" | "JSONB" => Self::Json,
            _ => Self::Plain,
        }
    }

    /// A value out of such a column. One that is not of its kind comes as it is kept.
    pub(crate) fn value(self, kept: ValueRef<'_>) -> Result<Value, SqlError> {
        Ok(match kept {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number @ (0 | 1)) if self == Self::Boolean => {
                Value::Boolean(number == 1)
            }
            ValueRef::Integer(number) if self == Self::Decimal => {
                Value::Decimal(number.to_string())
            }
            // A number is kept as one, whatever the text was that it came in.
            ValueRef::Integer(number) if self == Self::Json => Value::Json(number.to_string()),
            ValueRef::Integer(number) => Value::Int(number),
            ValueRef::Real(number) if self == Self::Json && number.is_finite() => {
                Value::Json(number.to_string())
            }
            // In a decimal column too: what was exact is not any more.
            ValueRef::Real(number) => Value::Float(number),
            ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec().into()),
            ValueRef::Text(text) => {
                let text = std::str::from_utf8(text).map_err(|_| {
                    SqlError::other("a text in the database is no UTF-8; cast it to a blob")
                })?;
                self.text(text.to_owned())
            }
        })
    }

    fn text(self, text: String) -> Value {
        match self {
            Self::Date => Value::Date(text),
            Self::Time => Value::Time(text),
            Self::Timestamp => Value::Timestamp(text),
            Self::Uuid => Value::Uuid(text),
            Self::Json => Value::Json(text),
            Self::Decimal if text.parse::<f64>().is_ok_and(f64::is_finite) => Value::Decimal(text),
            Self::Plain | Self::Boolean | Self::Decimal => Value::Text(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_types_are_read() {
        for (declared, kind) in [
            ("decimal(10, 2)", Kind::Decimal),
            ("BOOLEAN NOT NULL", Kind::Boolean),
            ("datetime", Kind::Timestamp),
            ("VARCHAR(10)", Kind::Plain),
            ("", Kind::Plain),
        ] {
            assert_eq!(Kind::of(Some(declared)), kind, "{declared}");
        }
    }

    #[test]
    fn numbers_tell_whether_they_are_exact() {
        let of = |kind: Kind, kept| kind.value(kept).unwrap();
        let real = ValueRef::Real(0.1);
        assert_eq!(of(Kind::Decimal, real), Value::Float(0.1));
        let whole = of(Kind::Decimal, ValueRef::Integer(12));
        assert_eq!(whole, Value::Decimal("12".to_owned()));
        let long = ValueRef::Text(b"12345678901234567890.0123456789");
        let kept = Value::Decimal("12345678901234567890.0123456789".to_owned());
        assert_eq!(of(Kind::of(Some("DECIMAL_TEXT(30, 10)")), long), kept);
    }

    #[test]
    fn numbers_of_json_are_json() {
        let of = |kept| Kind::Json.value(kept).unwrap();
        let json = |text: &str| Value::Json(text.to_owned());
        assert_eq!(of(ValueRef::Integer(-7)), json("-7"));
        assert_eq!(of(ValueRef::Real(1.5)), json("1.5"));
        assert_eq!(of(ValueRef::Text(b"true")), json("true"));
    }

    #[test]
    fn values_of_another_kind_come_as_they_are() {
        let two = Kind::Boolean.value(ValueRef::Integer(2)).unwrap();
        assert_eq!(two, Value::Int(2));
        let word = Kind::Decimal.value(ValueRef::Text(b"many")).unwrap();
        assert_eq!(word, Value::Text("many".to_owned()));
    }
}
