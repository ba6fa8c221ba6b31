//! Values that have no case of their own, in the text form of the server.
//!
//! The client asks for all values in their binary form, so the text is written here as the server
//! writes it with its usual settings and the time zone UTC. A test has the server write the same
//! values and compares.

mod containers;
mod geometry;
mod scalars;

use lattice_postgres::tokio_postgres::types::{Kind, Type};

use crate::binary::{
    Reader, Room, Unreadable, date_text, interval_text, jsonb_text, numeric, uuid_text,
};
use crate::postgres;

type BoxError = Box<dyn std::error::Error + Sync + Send>;

/// How deep values may stand in one another: they are read by recursion, and a row in a row has each
/// quote twice, one in that four times, and so on.
const DEEPEST: usize = 16;

/// A value that is not null.
///
/// # Errors
///
/// It is not what its type says, or nobody but the server can write it: types that are known by
/// number only (`regclass`), those of extensions, and what a `ROW(…)` holds of types that are not
/// built in.
pub(crate) fn text(ty: &Type, raw: &[u8]) -> Result<String, BoxError> {
    let mut writing = Writing {
        depth: DEEPEST,
        room: Room::default(),
    };
    writing.value(ty, raw)
}

/// One value, with what may still become of it.
#[derive(Debug)]
struct Writing {
    depth: usize,
    room: Room,
}

impl Writing {
    fn value(&mut self, ty: &Type, raw: &[u8]) -> Result<String, BoxError> {
        let Some(depth) = self.depth.checked_sub(1) else {
            return Err("the value is too deep".into());
        };
        self.depth = depth;
        let before = self.room.taken();
        let text = match ty.kind() {
            Kind::Domain(inner) => self.value(inner, raw),
            Kind::Array(item) if is_vector(ty) => containers::vector(item, raw, self),
            Kind::Array(item) => containers::array(item, raw, self),
            Kind::Range(bound) => containers::range(bound, raw, self),
            Kind::Multirange(bound) => containers::multirange(bound, raw, self),
            Kind::Composite(fields) => containers::record(fields, raw, self),
            _ if *ty == Type::RECORD => containers::record(&[], raw, self),
            _ if *ty == Type::RECORD_ARRAY => containers::array(&Type::RECORD, raw, self),
            _ => single(ty, raw),
        };
        let text = text?;
        self.depth += 1;
        // What it holds was counted.
        let counted = self.room.taken() - before;
        self.room.take(text.len().saturating_sub(counted))?;
        Ok(text)
    }
}

fn single(ty: &Type, raw: &[u8]) -> Result<String, BoxError> {
    match scalar(ty, raw)? {
        Some(text) => Ok(text),
        None => elsewhere(ty, raw),
    }
}

/// Types without a number of their own, and those that are written as parameters are.
fn elsewhere(ty: &Type, raw: &[u8]) -> Result<String, BoxError> {
    match (ty.kind(), ty.name()) {
        (Kind::Enum(_), _) | (_, "citext") => Ok(Reader::new("text", raw).text()?.to_owned()),
        (_, "hstore") => Ok(scalars::hstore(raw)?),
        _ => postgres::text_of(ty, raw),
    }
}

/// The two arrays that are written as numbers with blanks between them.
fn is_vector(ty: &Type) -> bool {
    matches!(*ty, Type::INT2_VECTOR | Type::OID_VECTOR)
}

fn scalar(ty: &Type, raw: &[u8]) -> Result<Option<String>, Unreadable> {
    let as_text = |what| Ok(Reader::new(what, raw).text()?.to_owned());
    Ok(Some(match *ty {
        Type::BOOL => match Reader::new("bool", raw).u8()? {
            0 => "f".to_owned(),
            _ => "t".to_owned(),
        },
        Type::INT2 => Reader::new("int2", raw).i16()?.to_string(),
        Type::INT4 => Reader::new("int4", raw).i32()?.to_string(),
        Type::INT8 => Reader::new("int8", raw).i64()?.to_string(),
        Type::OID | Type::XID | Type::CID => Reader::new("oid", raw).u32()?.to_string(),
        Type::XID8 => Reader::new("xid8", raw).i64()?.cast_unsigned().to_string(),
        Type::TID => scalars::tid(raw)?,
        Type::FLOAT4 => scalars::short_float(Reader::new("float4", raw).f32()?),
        Type::FLOAT8 => scalars::float(Reader::new("float8", raw).f64()?),
        Type::NUMERIC => numeric(raw)?,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::CHAR => as_text("text")?,
        Type::UNKNOWN | Type::CSTRING | Type::REFCURSOR | Type::VOID => as_text("text")?,
        Type::XML => as_text("xml")?,
        Type::JSON => as_text("json")?,
        Type::JSONB => jsonb_text(raw)?.to_owned(),
        // Both begin with the number of their version.
        Type::JSONPATH => jsonb_text(raw)?.to_owned(),
        Type::BYTEA => crate::values::hex(raw),
        Type::UUID => uuid_text(raw)?,
        Type::DATE => date_text(raw)?,
        Type::TIME => scalars::time(raw)?,
        Type::TIMETZ => scalars::time_tz(raw)?,
        Type::TIMESTAMP => scalars::timestamp(raw, "")?,
        Type::TIMESTAMPTZ => scalars::timestamp(raw, "+00")?,
        Type::INTERVAL => interval_text(raw)?,
        Type::TS_VECTOR => scalars::words(raw)?,
        _ => return geometry::text(ty, raw),
    }))
}
