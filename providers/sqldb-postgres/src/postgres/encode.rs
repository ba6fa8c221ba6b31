//! The cases of `pg-value` in the text form that the server reads.

use std::fmt::Write as _;

use lattice_postgres::tokio_postgres::types::Type;

use super::bindings::exports::wasmcloud::postgres::query::PgValue;
use super::bindings::wasmcloud::postgres::types::{
    Date, HashableF64, Interval, MacAddressEui48, MacAddressEui64, Offset, Point, Time, TimeTz,
    Timestamp, TimestampTz,
};
use super::floats::{number_of, short_number_of};
use super::search::vector_text;
use crate::binary::Day;
use crate::values::hex;

/// What a value cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unwritable {
    /// The number of bits is not that of the bytes.
    #[error("{bits} bits do not fill {bytes} bytes to their last one")]
    Bits {
        /// What is said.
        bits: u32,
        /// What is there.
        bytes: usize,
    },
    /// A text of fixed length has another one.
    #[error("a char of length {said} has {bytes} bytes")]
    Char {
        /// What is said.
        said: u32,
        /// What is there.
        bytes: usize,
    },
    /// A text is longer than it may be.
    #[error("a varchar of at most {limit} bytes has {bytes}")]
    Varchar {
        /// What is said.
        limit: u32,
        /// What is there.
        bytes: usize,
    },
    /// Bytes are no text.
    #[error("a text is no UTF-8")]
    Text,
    /// An interval has no length.
    #[error("an interval without two dates has no length in days")]
    Endless,
}

type Written = Result<String, Unwritable>;

/// The text of a value for a parameter of that type; `None` is null.
pub(super) fn text(value: &PgValue, ty: &Type) -> Result<Option<String>, Unwritable> {
    if matches!(value, PgValue::Null) {
        return Ok(None);
    }
    if let Some(text) = number(value) {
        return Ok(Some(text));
    }
    if let Some(text) = geometric(value) {
        return Ok(Some(text));
    }
    if let Some(text) = words(value) {
        return Ok(Some(text));
    }
    of_time(value, ty).or_else(|| counted(value)).transpose()
}

fn number(value: &PgValue) -> Option<String> {
    Some(match value {
        PgValue::BigInt(n) | PgValue::Int8(n) | PgValue::BigSerial(n) | PgValue::Serial8(n) => {
            n.to_string()
        }
        PgValue::Int8Array(ns) => list(ns.iter().map(ToString::to_string)),
        PgValue::Bool(is) | PgValue::Boolean(is) => is.to_string(),
        PgValue::BoolArray(list_of) => list(list_of.iter().map(ToString::to_string)),
        PgValue::Double(parts) | PgValue::Float8(parts) => float(parts),
        PgValue::Float8Array(many) => list(many.iter().map(float)),
        PgValue::Real(parts) | PgValue::Float4(parts) => short_float(parts),
        PgValue::Float4Array(many) => list(many.iter().map(short_float)),
        PgValue::Integer(n) | PgValue::Int(n) | PgValue::Int4(n) => n.to_string(),
        PgValue::Int4Array(ns) => list(ns.iter().map(ToString::to_string)),
        PgValue::Serial(n) | PgValue::Serial4(n) => n.to_string(),
        PgValue::SmallInt(n) | PgValue::Int2(n) | PgValue::SmallSerial(n) | PgValue::Serial2(n) => {
            n.to_string()
        }
        PgValue::Int2Array(ns) => list(ns.iter().map(ToString::to_string)),
        PgValue::Int2Vector(ns) => vector(ns),
        PgValue::Int2VectorArray(many) => list(many.iter().map(|ns| vector(ns))),
        PgValue::PgLsn(place) => lsn(place),
        PgValue::PgLsnArray(places) => list(places.iter().map(lsn)),
        _ => return None,
    })
}

fn geometric(value: &PgValue) -> Option<String> {
    Some(match value {
        PgValue::Point(at) => point(at),
        PgValue::PointArray(many) => list(many.iter().map(point)),
        PgValue::Box(two) => corners(two),
        // The only type whose items are not parted by a comma.
        PgValue::BoxArray(many) => list_with(many.iter().map(corners), ';'),
        PgValue::Circle(one) => circle(one),
        PgValue::CircleArray(many) => list(many.iter().map(circle)),
        PgValue::Line(two) | PgValue::Lseg(two) => ends(two),
        PgValue::LineArray(many) | PgValue::LsegArray(many) => list(many.iter().map(ends)),
        PgValue::Path(points) => path(points),
        PgValue::PathArray(many) => list(many.iter().map(|points| path(points))),
        PgValue::Polygon(points) => polygon(points),
        PgValue::PolygonArray(many) => list(many.iter().map(|points| polygon(points))),
        _ => return None,
    })
}

fn words(value: &PgValue) -> Option<String> {
    Some(match value {
        PgValue::Numeric(text)
        | PgValue::Decimal(text)
        | PgValue::Money(text)
        | PgValue::Cidr(text)
        | PgValue::Inet(text)
        | PgValue::Json(text)
        | PgValue::Jsonb(text)
        | PgValue::Name(text)
        | PgValue::Text(text)
        | PgValue::Xml(text)
        | PgValue::TsQuery(text)
        | PgValue::Uuid(text) => text.clone(),
        PgValue::NumericArray(texts)
        | PgValue::MoneyArray(texts)
        | PgValue::CidrArray(texts)
        | PgValue::InetArray(texts)
        | PgValue::JsonArray(texts)
        | PgValue::JsonbArray(texts)
        | PgValue::NameArray(texts)
        | PgValue::TextArray(texts)
        | PgValue::XmlArray(texts)
        | PgValue::UuidArray(texts) => list(texts.iter().cloned()),
        PgValue::Bytea(bytes) => hex(bytes),
        PgValue::ByteaArray(many) => list(many.iter().map(|bytes| hex(bytes))),
        PgValue::Macaddr(address) => eui48(address),
        PgValue::MacaddrArray(many) => list(many.iter().map(eui48)),
        PgValue::Macaddr8(address) => eui64(address),
        PgValue::Macaddr8Array(many) => list(many.iter().map(eui64)),
        PgValue::PgSnapshot((first, last, running)) => {
            let running: Vec<_> = running.iter().map(ToString::to_string).collect();
            format!("{first}:{last}:{}", running.join(","))
        }
        PgValue::TsVector(lexemes) => vector_text(lexemes),
        PgValue::Hstore(entries) => hstore(entries),
        _ => return None,
    })
}

fn of_time(value: &PgValue, ty: &Type) -> Option<Written> {
    Some(Ok(match value {
        PgValue::Date(one) => date(one),
        PgValue::DateArray(many) => list(many.iter().map(date)),
        PgValue::Interval(one) if *ty == Type::INTERVAL => return Some(days_between(one)),
        PgValue::IntervalArray(many) if *ty == Type::INTERVAL_ARRAY => {
            return Some(each(many, days_between));
        }
        PgValue::Interval(one) => range(one),
        PgValue::IntervalArray(many) => list(many.iter().map(range)),
        PgValue::Time(one) => time(one),
        PgValue::TimeArray(many) => list(many.iter().map(time)),
        PgValue::TimeTz(one) => time_tz(one),
        PgValue::TimeTzArray(many) => list(many.iter().map(time_tz)),
        PgValue::Timestamp(one) => timestamp(one, ""),
        PgValue::TimestampArray(many) => list(many.iter().map(|one| timestamp(one, ""))),
        PgValue::TimestampTz(one) => timestamp_tz(one),
        PgValue::TimestampTzArray(many) => list(many.iter().map(timestamp_tz)),
        PgValue::TxidSnapshot(n) if matches!(*ty, Type::TXID_SNAPSHOT | Type::PG_SNAPSHOT) => {
            format!("{n}:{n}:")
        }
        PgValue::TxidSnapshot(n) => n.to_string(),
        _ => return None,
    }))
}

/// What says how long it is.
fn counted(value: &PgValue) -> Option<Written> {
    Some(match value {
        PgValue::Bit(one) => bits(one),
        PgValue::BitArray(many) => each(many, bits),
        PgValue::BitVarying(one) | PgValue::Varbit(one) => varbit(one),
        PgValue::VarbitArray(many) => each(many, varbit),
        PgValue::Char(one) => sized(one),
        PgValue::CharArray(many) => each(many, sized),
        PgValue::Varchar(one) => limited(one),
        PgValue::VarcharArray(many) => each(many, limited),
        _ => return None,
    })
}

fn each<T>(many: &[T], item: impl Fn(&T) -> Written) -> Written {
    let items: Result<Vec<_>, _> = many.iter().map(item).collect();
    Ok(list(items?.into_iter()))
}

fn list(items: impl Iterator<Item = String>) -> String {
    list_with(items, ',')
}

/// An array, each item of it in quotes.
fn list_with(items: impl Iterator<Item = String>, between: char) -> String {
    let mut text = "{".to_owned();
    for (at, item) in items.enumerate() {
        if at > 0 {
            text.push(between);
        }
        push_quoted(&mut text, &item);
    }
    text.push('}');
    text
}

fn push_quoted(text: &mut String, item: &str) {
    text.push('"');
    for c in item.chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
}

fn float(parts: &HashableF64) -> String {
    number_of(*parts).to_string()
}

fn short_float(parts: &HashableF64) -> String {
    short_number_of(*parts).to_string()
}

fn vector(numbers: &[i16]) -> String {
    let numbers: Vec<_> = numbers.iter().map(ToString::to_string).collect();
    numbers.join(" ")
}

fn lsn(place: &u64) -> String {
    format!("{:X}/{:X}", place >> 32, place & 0xffff_ffff)
}

fn point((x, y): &Point) -> String {
    format!("({},{})", float(x), float(y))
}

fn corners((one, other): &(Point, Point)) -> String {
    format!("{},{}", point(one), point(other))
}

fn ends(two: &(Point, Point)) -> String {
    format!("[{}]", corners(two))
}

fn circle((center, radius): &(Point, HashableF64)) -> String {
    format!("<{},{}>", point(center), float(radius))
}

fn joined(points: &[Point]) -> String {
    points.iter().map(point).collect::<Vec<_>>().join(",")
}

fn path(points: &[Point]) -> String {
    format!("[{}]", joined(points))
}

fn polygon(points: &[Point]) -> String {
    format!("({})", joined(points))
}

fn colons(bytes: &[u8]) -> String {
    let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}

fn eui48(address: &MacAddressEui48) -> String {
    let (a, b, c, d, e, f) = address.bytes;
    colons(&[a, b, c, d, e, f])
}

fn eui64(address: &MacAddressEui64) -> String {
    let (a, b, c, d, e, f, g, h) = address.bytes;
    colons(&[a, b, c, d, e, f, g, h])
}

fn hstore(entries: &[(String, Option<String>)]) -> String {
    let mut text = String::new();
    for (at, (key, value)) in entries.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        push_quoted(&mut text, key);
        text.push_str("=>");
        match value {
            Some(value) => push_quoted(&mut text, value),
            None => text.push_str("NULL"),
        }
    }
    text
}

fn day_of(date: &Date) -> Day {
    match date {
        Date::NegativeInfinity => Day::First,
        Date::PositiveInfinity => Day::Last,
        Date::Ymd((year, month, day)) => Day::Of(*year, *month, *day),
    }
}

fn date(date: &Date) -> String {
    let (text, era) = day_of(date).text();
    text + era
}

fn time(time: &Time) -> String {
    let Time {
        hour,
        min,
        sec,
        micro,
    } = time;
    format!("{hour:02}:{min:02}:{sec:02}.{micro:06}")
}

fn time_tz(one: &TimeTz) -> String {
    time(&one.time) + &one.timesonze
}

fn timestamp(one: &Timestamp, zone: &str) -> String {
    let day = day_of(&one.date);
    let (date, era) = day.text();
    match day {
        Day::Of(..) => format!("{date} {}{zone}{era}", time(&one.time)),
        Day::First | Day::Last => date,
    }
}

fn timestamp_tz(one: &TimestampTz) -> String {
    let (east, seconds) = match one.offset {
        Offset::EasternHemisphereSecs(seconds) => (true, seconds),
        Offset::WesternHemisphereSecs(seconds) => (false, seconds),
    };
    let sign = if east == (seconds >= 0) { '+' } else { '-' };
    let size = seconds.unsigned_abs();
    let (hours, minutes, seconds) = (size / 3600, size / 60 % 60, size % 60);
    timestamp(
        &one.timestamp,
        &format!("{sign}{hours:02}:{minutes:02}:{seconds:02}"),
    )
}

fn range(one: &Interval) -> String {
    let open = if one.start_inclusive { '[' } else { '(' };
    let close = if one.end_inclusive { ']' } else { ')' };
    match (&one.start, &one.end) {
        (Date::PositiveInfinity, Date::NegativeInfinity) => "empty".to_owned(),
        (start, end) => {
            // An end beyond all dates is none.
            let start = match start {
                Date::NegativeInfinity => String::new(),
                start => date(start),
            };
            let end = match end {
                Date::PositiveInfinity => String::new(),
                end => date(end),
            };
            format!("{open}{start},{end}{close}")
        }
    }
}

/// The days between two dates.
fn days_between(one: &Interval) -> Written {
    match (day_number(&one.start), day_number(&one.end)) {
        (Some(start), Some(end)) => Ok(format!("{} days", end - start)),
        _ => Err(Unwritable::Endless),
    }
}

/// Counts days from 0000-03-01 on, so that a leap day is the last one of its year.
fn day_number(date: &Date) -> Option<i64> {
    let Date::Ymd((year, month, day)) = *date else {
        return None;
    };
    let (year, month, day) = (i64::from(year), i64::from(month), i64::from(day));
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some(year * 365 + leaps + (153 * month + 2) / 5 + day - 1)
}

fn bit_text(bytes: &[u8], count: usize) -> String {
    let mut text = String::with_capacity(bytes.len() * 8);
    for byte in bytes {
        // Writing to a text does not fail.
        let _written = write!(text, "{byte:08b}");
    }
    text.truncate(count);
    text
}

fn bits((count, bytes): &(u32, bytes::Bytes)) -> Written {
    if count.div_ceil(8) as usize != bytes.len() {
        return Err(Unwritable::Bits {
            bits: *count,
            bytes: bytes.len(),
        });
    }
    Ok(bit_text(bytes, *count as usize))
}

/// Without a number of bits, or with one that is larger, all of them count.
fn varbit((count, bytes): &(Option<u32>, bytes::Bytes)) -> Written {
    let all = bytes.len() * 8;
    let count = count.map_or(all, |count| (count as usize).min(all));
    if count.div_ceil(8) != bytes.len() {
        return Err(Unwritable::Bits {
            bits: u32::try_from(count).unwrap_or(u32::MAX),
            bytes: bytes.len(),
        });
    }
    Ok(bit_text(bytes, count))
}

fn utf8(bytes: &[u8]) -> Written {
    let text = std::str::from_utf8(bytes).map_err(|_| Unwritable::Text)?;
    Ok(text.to_owned())
}

fn sized((said, bytes): &(u32, bytes::Bytes)) -> Written {
    match *said as usize == bytes.len() {
        true => utf8(bytes),
        false => Err(Unwritable::Char {
            said: *said,
            bytes: bytes.len(),
        }),
    }
}

fn limited((limit, bytes): &(Option<u32>, bytes::Bytes)) -> Written {
    match limit {
        Some(limit) if bytes.len() > *limit as usize => Err(Unwritable::Varchar {
            limit: *limit,
            bytes: bytes.len(),
        }),
        _ => utf8(bytes),
    }
}
