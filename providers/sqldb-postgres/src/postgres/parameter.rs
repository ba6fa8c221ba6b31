//! The values of `wasmcloud:postgres` on their way to the server and back.

use bytes::{BufMut as _, BytesMut};
use lattice_postgres::tokio_postgres::types::{
    Format, FromSql, IsNull, ToSql, Type, to_sql_checked,
};

use super::bindings::exports::wasmcloud::postgres::query::PgValue;
use super::{BoxError, decode, encode};

/// A value as a parameter: text, which the server reads as the type that the statement gives it.
#[derive(Debug)]
pub(super) struct Parameter<'a>(pub(super) &'a PgValue);

impl ToSql for Parameter<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        match encode::text(self.0, ty)? {
            Some(text) => out.put_slice(text.as_bytes()),
            None => return Ok(IsNull::Yes),
        }
        Ok(IsNull::No)
    }

    fn accepts(_ty: &Type) -> bool {
        true
    }

    fn encode_format(&self, _ty: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// A value out of a row.
pub(super) struct Cell(pub(super) PgValue);

impl<'a> FromSql<'a> for Cell {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        Ok(Self(decode::value(ty, raw)?))
    }

    fn from_sql_null(_ty: &Type) -> Result<Self, BoxError> {
        Ok(Self(PgValue::Null))
    }

    fn accepts(_ty: &Type) -> bool {
        true
    }
}
