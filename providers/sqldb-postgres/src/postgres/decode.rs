//! What the server sends, as the cases of `pg-value`.

use lattice_postgres::tokio_postgres::types::{Kind, Type};

use super::bindings::exports::wasmcloud::postgres::query::PgValue;
use super::bindings::wasmcloud::postgres::types::{
    Date, HashableF64, Interval, MacAddressEui48, MacAddressEui64, Offset, Point, Time, TimeTz,
    Timestamp, TimestampTz,
};
use super::floats::{parts_of, short_parts_of};
use super::{BoxError, search};
use crate::binary::{
    Clock, Day, Reader, Room, Unreadable, clock, day, interval_text, items, jsonb_text, moment,
    numeric, uuid_text,
};

type Read<T> = Result<T, Unreadable>;

fn each<T>(raw: &[u8], item: impl FnMut(&[u8]) -> Read<T>) -> Read<Vec<T>> {
    items(raw)?.into_iter().map(item).collect()
}

/// The value of a column that is not null.
pub(super) fn value(ty: &Type, raw: &[u8]) -> Result<PgValue, BoxError> {
    if let Some(value) = plain(ty, raw)? {
        return Ok(value);
    }
    if let Some(value) = geometric(ty, raw)? {
        return Ok(value);
    }
    if let Some(value) = of_time(ty, raw)? {
        return Ok(value);
    }
    match (ty.kind(), ty.name()) {
        (Kind::Domain(inner), _) => return value(inner, raw),
        (Kind::Enum(_), _) | (_, "citext") => return Ok(PgValue::Text(text(raw)?)),
        (_, "hstore") => return hstore(raw),
        _ => {}
    }
    match *ty {
        Type::TS_VECTOR => search::vector(raw),
        Type::TSQUERY => search::query(raw),
        Type::PG_SNAPSHOT | Type::TXID_SNAPSHOT => snapshot(raw),
        _ => {
            let name = ty.name();
            Err(format!("there is no value for the type `{name}`, cast it to text").into())
        }
    }
}

fn plain(ty: &Type, raw: &[u8]) -> Read<Option<PgValue>> {
    Ok(Some(match *ty {
        Type::BOOL => PgValue::Bool(truth(raw)?),
        Type::BOOL_ARRAY => PgValue::BoolArray(each(raw, truth)?),
        Type::INT2 => PgValue::Int2(int2(raw)?),
        Type::INT2_ARRAY => PgValue::Int2Array(each(raw, int2)?),
        Type::INT2_VECTOR => PgValue::Int2Vector(each(raw, int2)?),
        Type::INT2_VECTOR_ARRAY => PgValue::Int2VectorArray(each(raw, |raw| each(raw, int2))?),
        Type::INT4 => PgValue::Int4(int4(raw)?),
        Type::INT4_ARRAY => PgValue::Int4Array(each(raw, int4)?),
        Type::INT8 => PgValue::Int8(int8(raw)?),
        Type::INT8_ARRAY => PgValue::Int8Array(each(raw, int8)?),
        Type::OID => PgValue::Int8(Reader::new("oid", raw).u32()?.into()),
        Type::FLOAT4 => PgValue::Float4(float4(raw)?),
        Type::FLOAT4_ARRAY => PgValue::Float4Array(each(raw, float4)?),
        Type::FLOAT8 => PgValue::Float8(float8(raw)?),
        Type::FLOAT8_ARRAY => PgValue::Float8Array(each(raw, float8)?),
        Type::NUMERIC => PgValue::Numeric(numeric(raw)?),
        Type::NUMERIC_ARRAY => PgValue::NumericArray(numerics(raw)?),
        Type::MONEY => PgValue::Money(money(raw)?),
        Type::MONEY_ARRAY => PgValue::MoneyArray(each(raw, money)?),
        Type::BIT | Type::VARBIT => PgValue::Bit(bits(raw)?),
        Type::BIT_ARRAY => PgValue::BitArray(each(raw, bits)?),
        Type::VARBIT_ARRAY => PgValue::VarbitArray(each(raw, |raw| {
            let (count, bytes) = bits(raw)?;
            Ok((Some(count), bytes))
        })?),
        Type::BYTEA => PgValue::Bytea(raw.to_vec().into()),
        Type::BYTEA_ARRAY => PgValue::ByteaArray(each(raw, |raw| Ok(raw.to_vec().into()))?),
        Type::CHAR | Type::BPCHAR => PgValue::Char(sized(raw)?),
        Type::CHAR_ARRAY | Type::BPCHAR_ARRAY => PgValue::CharArray(each(raw, sized)?),
        Type::VARCHAR => PgValue::Varchar((None, raw.to_vec().into())),
        Type::VARCHAR_ARRAY => {
            PgValue::VarcharArray(each(raw, |raw| Ok((None, raw.to_vec().into())))?)
        }
        Type::TEXT | Type::UNKNOWN => PgValue::Text(text(raw)?),
        Type::TEXT_ARRAY => PgValue::TextArray(each(raw, text)?),
        Type::NAME => PgValue::Name(text(raw)?),
        Type::NAME_ARRAY => PgValue::NameArray(each(raw, text)?),
        Type::XML => PgValue::Xml(text(raw)?),
        Type::XML_ARRAY => PgValue::XmlArray(each(raw, text)?),
        Type::JSON => PgValue::Json(text(raw)?),
        Type::JSON_ARRAY => PgValue::JsonArray(each(raw, text)?),
        // As in 1.x.
        Type::JSONB => PgValue::Json(jsonb(raw)?),
        Type::JSONB_ARRAY => PgValue::JsonbArray(each(raw, jsonb)?),
        Type::UUID => PgValue::Uuid(uuid_text(raw)?),
        Type::UUID_ARRAY => PgValue::UuidArray(each(raw, uuid_text)?),
        Type::CIDR => PgValue::Cidr(address(raw)?),
        Type::CIDR_ARRAY => PgValue::CidrArray(each(raw, address)?),
        Type::INET => PgValue::Inet(address(raw)?),
        Type::INET_ARRAY => PgValue::InetArray(each(raw, address)?),
        Type::MACADDR => PgValue::Macaddr(eui48(raw)?),
        Type::MACADDR_ARRAY => PgValue::MacaddrArray(each(raw, eui48)?),
        Type::MACADDR8 => PgValue::Macaddr8(eui64(raw)?),
        Type::MACADDR8_ARRAY => PgValue::Macaddr8Array(each(raw, eui64)?),
        Type::PG_LSN => PgValue::PgLsn(place(raw)?),
        Type::PG_LSN_ARRAY => PgValue::PgLsnArray(each(raw, place)?),
        _ => return Ok(None),
    }))
}

fn geometric(ty: &Type, raw: &[u8]) -> Read<Option<PgValue>> {
    Ok(Some(match *ty {
        Type::POINT => PgValue::Point(point(raw)?),
        Type::POINT_ARRAY => PgValue::PointArray(each(raw, point)?),
        Type::BOX => PgValue::Box(corners(raw)?),
        Type::BOX_ARRAY => PgValue::BoxArray(each(raw, corners)?),
        Type::LSEG => PgValue::Lseg(two_points(raw)?),
        Type::LSEG_ARRAY => PgValue::LsegArray(each(raw, two_points)?),
        Type::LINE => PgValue::Line(line(raw)?),
        Type::LINE_ARRAY => PgValue::LineArray(each(raw, line)?),
        Type::CIRCLE => PgValue::Circle(circle(raw)?),
        Type::CIRCLE_ARRAY => PgValue::CircleArray(each(raw, circle)?),
        Type::PATH => PgValue::Path(path(raw)?),
        Type::PATH_ARRAY => PgValue::PathArray(each(raw, path)?),
        Type::POLYGON => PgValue::Polygon(polygon(raw)?),
        Type::POLYGON_ARRAY => PgValue::PolygonArray(each(raw, polygon)?),
        _ => return Ok(None),
    }))
}

fn of_time(ty: &Type, raw: &[u8]) -> Read<Option<PgValue>> {
    Ok(Some(match *ty {
        Type::DATE => PgValue::Date(date(raw)?),
        Type::DATE_ARRAY => PgValue::DateArray(each(raw, date)?),
        Type::DATE_RANGE => PgValue::Interval(range(raw)?),
        Type::DATE_RANGE_ARRAY => PgValue::IntervalArray(each(raw, range)?),
        Type::TIME => PgValue::Time(time(raw)?),
        Type::TIME_ARRAY => PgValue::TimeArray(each(raw, time)?),
        Type::TIMETZ => PgValue::TimeTz(time_tz(raw)?),
        Type::TIMETZ_ARRAY => PgValue::TimeTzArray(each(raw, time_tz)?),
        Type::TIMESTAMP => PgValue::Timestamp(timestamp(raw)?),
        Type::TIMESTAMP_ARRAY => PgValue::TimestampArray(each(raw, timestamp)?),
        Type::TIMESTAMPTZ => PgValue::TimestampTz(timestamp_tz(raw)?),
        Type::TIMESTAMPTZ_ARRAY => PgValue::TimestampTzArray(each(raw, timestamp_tz)?),
        Type::INTERVAL => PgValue::Text(interval_text(raw)?),
        Type::INTERVAL_ARRAY => PgValue::TextArray(each(raw, interval_text)?),
        _ => return Ok(None),
    }))
}

fn truth(raw: &[u8]) -> Read<bool> {
    Ok(Reader::new("bool", raw).u8()? != 0)
}

fn int2(raw: &[u8]) -> Read<i16> {
    Reader::new("int2", raw).i16()
}

fn int4(raw: &[u8]) -> Read<i32> {
    Reader::new("int4", raw).i32()
}

fn int8(raw: &[u8]) -> Read<i64> {
    Reader::new("int8", raw).i64()
}

fn float4(raw: &[u8]) -> Read<HashableF64> {
    Ok(short_parts_of(Reader::new("float4", raw).f32()?))
}

fn float8(raw: &[u8]) -> Read<HashableF64> {
    Ok(parts_of(Reader::new("float8", raw).f64()?))
}

fn numerics(raw: &[u8]) -> Read<Vec<String>> {
    let mut room = Room::default();
    each(raw, |raw| {
        let text = numeric(raw)?;
        room.take(text.len())?;
        Ok(text)
    })
}

/// Money is a number of its smallest coins.
fn money(raw: &[u8]) -> Read<String> {
    let coins = int8(raw)?;
    let sign = if coins < 0 { "-" } else { "" };
    let coins = coins.unsigned_abs();
    Ok(format!("{sign}{}.{:02}", coins / 100, coins % 100))
}

fn bits(raw: &[u8]) -> Read<(u32, bytes::Bytes)> {
    let mut reader = Reader::new("bit", raw);
    let count = reader.u32()?;
    let len = count.div_ceil(8) as usize;
    Ok((count, reader.take(len)?.to_vec().into()))
}

fn sized(raw: &[u8]) -> Read<(u32, bytes::Bytes)> {
    let len = u32::try_from(raw.len()).map_err(|_| Unreadable("char"))?;
    Ok((len, raw.to_vec().into()))
}

fn text(raw: &[u8]) -> Read<String> {
    Reader::new("text", raw).text().map(str::to_owned)
}

fn jsonb(raw: &[u8]) -> Read<String> {
    jsonb_text(raw).map(str::to_owned)
}

/// An address, with the length of its net where it is one of a net.
fn address(raw: &[u8]) -> Read<String> {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    let mut reader = Reader::new("address", raw);
    let _family = reader.u8()?;
    let bits = reader.u8()?;
    let is_net = reader.u8()? != 0;
    let len = reader.u8()?;
    let wrong = reader.wrong();
    let bytes = reader.take(len.into())?;
    let (address, all) = match len {
        4 => {
            let octets: [u8; 4] = bytes.try_into().map_err(|_| wrong)?;
            (IpAddr::from(Ipv4Addr::from(octets)), 32)
        }
        16 => {
            let octets: [u8; 16] = bytes.try_into().map_err(|_| wrong)?;
            (IpAddr::from(Ipv6Addr::from(octets)), 128)
        }
        _ => return Err(wrong),
    };
    Ok(match is_net || bits != all {
        true => format!("{address}/{bits}"),
        false => address.to_string(),
    })
}

fn eui48(raw: &[u8]) -> Read<MacAddressEui48> {
    match *raw {
        [a, b, c, d, e, f] => Ok(MacAddressEui48 {
            bytes: (a, b, c, d, e, f),
        }),
        _ => Err(Unreadable("macaddr")),
    }
}

fn eui64(raw: &[u8]) -> Read<MacAddressEui64> {
    match *raw {
        [a, b, c, d, e, f, g, h] => Ok(MacAddressEui64 {
            bytes: (a, b, c, d, e, f, g, h),
        }),
        _ => Err(Unreadable("macaddr8")),
    }
}

fn place(raw: &[u8]) -> Read<u64> {
    Ok(int8(raw)?.cast_unsigned())
}

fn next_point(reader: &mut Reader<'_>) -> Read<Point> {
    Ok((parts_of(reader.f64()?), parts_of(reader.f64()?)))
}

fn point(raw: &[u8]) -> Read<Point> {
    next_point(&mut Reader::new("point", raw))
}

fn two_points(raw: &[u8]) -> Read<(Point, Point)> {
    let mut reader = Reader::new("lseg", raw);
    Ok((next_point(&mut reader)?, next_point(&mut reader)?))
}

/// The server sends the upper right corner first.
fn corners(raw: &[u8]) -> Read<(Point, Point)> {
    let (upper, lower) = two_points(raw)?;
    Ok((lower, upper))
}

/// Two points of the line where Ax + By + C = 0.
fn line(raw: &[u8]) -> Read<(Point, Point)> {
    let mut reader = Reader::new("line", raw);
    let (a, b, c) = (reader.f64()?, reader.f64()?, reader.f64()?);
    let at = |x: f64, y: f64| (parts_of(x), parts_of(y));
    Ok(match b == 0.0 {
        true => (at(-c / a, 0.0), at(-c / a, 1.0)),
        false => (at(0.0, -c / b), at(1.0, -(a + c) / b)),
    })
}

fn circle(raw: &[u8]) -> Read<(Point, HashableF64)> {
    let mut reader = Reader::new("circle", raw);
    Ok((next_point(&mut reader)?, parts_of(reader.f64()?)))
}

fn points(mut reader: Reader<'_>) -> Read<Vec<Point>> {
    let count = reader.count()?;
    let mut points = Vec::new();
    for _ in 0..count {
        points.push(next_point(&mut reader)?);
    }
    Ok(points)
}

fn path(raw: &[u8]) -> Read<Vec<Point>> {
    let mut reader = Reader::new("path", raw);
    let _is_closed = reader.u8()?;
    points(reader)
}

fn polygon(raw: &[u8]) -> Read<Vec<Point>> {
    points(Reader::new("polygon", raw))
}

fn date_of(day: Day) -> Date {
    match day {
        Day::First => Date::NegativeInfinity,
        Day::Last => Date::PositiveInfinity,
        Day::Of(year, month, day) => Date::Ymd((year, month, day)),
    }
}

fn time_of(clock: Clock) -> Time {
    Time {
        hour: clock.hour,
        min: clock.minute,
        sec: clock.second,
        micro: clock.micro,
    }
}

fn date(raw: &[u8]) -> Read<Date> {
    Ok(date_of(day(Reader::new("date", raw).i32()?)))
}

fn time(raw: &[u8]) -> Read<Time> {
    Ok(time_of(clock(Reader::new("time", raw).i64()?)?))
}

/// The server says how far west of Greenwich.
fn time_tz(raw: &[u8]) -> Read<TimeTz> {
    let mut reader = Reader::new("timetz", raw);
    let time = time_of(clock(reader.i64()?)?);
    let west = reader.i32()?;
    let sign = if west > 0 { '-' } else { '+' };
    let size = west.unsigned_abs();
    let (hours, minutes, seconds) = (size / 3600, size / 60 % 60, size % 60);
    let zone = format!("{sign}{hours:02}:{minutes:02}");
    Ok(TimeTz {
        timesonze: match seconds {
            0 => zone,
            seconds => format!("{zone}:{seconds:02}"),
        },
        time,
    })
}

fn timestamp(raw: &[u8]) -> Read<Timestamp> {
    let (day, clock) = moment(Reader::new("timestamp", raw).i64()?)?;
    Ok(Timestamp {
        date: date_of(day),
        time: time_of(clock),
    })
}

fn timestamp_tz(raw: &[u8]) -> Read<TimestampTz> {
    Ok(TimestampTz {
        timestamp: timestamp(raw)?,
        // As in 1.x.
        offset: Offset::WesternHemisphereSecs(0),
    })
}

/// A range of dates: what its ends are stands in the bits of a byte before them.
fn range(raw: &[u8]) -> Read<Interval> {
    let mut reader = Reader::new("daterange", raw);
    let flags = reader.u8()?;
    let has = |bit: u8| flags & bit != 0;
    if has(1) {
        // An empty one has no ends; this is empty too.
        return Ok(Interval {
            start: Date::PositiveInfinity,
            start_inclusive: false,
            end: Date::NegativeInfinity,
            end_inclusive: false,
        });
    }
    let mut end = |is_open: bool, open: Date| match is_open {
        true => Ok(open),
        false => date(reader.piece()?.ok_or(Unreadable("daterange"))?),
    };
    Ok(Interval {
        start: end(has(8), Date::NegativeInfinity)?,
        start_inclusive: has(2),
        end: end(has(16), Date::PositiveInfinity)?,
        end_inclusive: has(4),
    })
}

fn snapshot(raw: &[u8]) -> Result<PgValue, BoxError> {
    let mut reader = Reader::new("snapshot", raw);
    let count = reader.count()?;
    let (first, last) = (reader.i64()?, reader.i64()?);
    let mut running = Vec::new();
    for _ in 0..count {
        running.push(reader.i64()?);
    }
    Ok(PgValue::PgSnapshot((first, last, running)))
}

fn hstore(raw: &[u8]) -> Result<PgValue, BoxError> {
    let mut reader = Reader::new("hstore", raw);
    let count = reader.count()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let key = text(reader.piece()?.ok_or(Unreadable("hstore"))?)?;
        let value = reader.piece()?.map(text).transpose()?;
        entries.push((key, value));
    }
    Ok(PgValue::Hstore(entries))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items of eight bytes, which stand for 131069 digits each.
    fn long_numerics(count: i32) -> Vec<u8> {
        let head = [1, 0, 1700, count, 1].map(i32::to_be_bytes).concat();
        let item = [0, 0, 0, 8, 0, 0, 0x7f, 0xff, 0, 0, 0, 0];
        let items = item.repeat(usize::try_from(count).unwrap());
        [head, items].concat()
    }

    #[test]
    fn few_bytes_do_not_become_texts_without_end() {
        let some = value(&Type::NUMERIC_ARRAY, &long_numerics(3)).unwrap();
        let PgValue::NumericArray(some) = some else {
            panic!("{some:?}");
        };
        assert_eq!((some.len(), some[0].len()), (3, 131_069));
        let many = value(&Type::NUMERIC_ARRAY, &long_numerics(600)).unwrap_err();
        assert!(many.to_string().contains("64 MiB"), "{many}");
        let word = [&[0, 0, 0, 1][..], &[b'a'; 4000], &[0, 0xff, 0xff]].concat();
        let places = [0, 1].repeat(0xffff);
        let many = value(&Type::TS_VECTOR, &[word, places].concat()).unwrap_err();
        assert!(many.to_string().contains("64 MiB"), "{many}");
    }
}
