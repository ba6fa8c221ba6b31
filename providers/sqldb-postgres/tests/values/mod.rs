//! A value of every case of `pg-value`, with the type that it goes as. The conformance suite shares it,
//! whose bindings hold bytes in another type; who includes it has them in a module `pg`.

use super::pg::{
    Date, HashableF64, Interval, Lexeme, LexemeWeight, MacAddressEui48, MacAddressEui64, Offset,
    PgValue, Time, TimeTz, Timestamp, TimestampTz,
};

/// How many cases there are.
pub(crate) const CASES: usize = 97;

/// Values compare by what they show: the generated types have no equality.
pub(crate) fn shown(value: &PgValue) -> String {
    format!("{value:?}")
}

pub(crate) fn parts(number: f64) -> HashableF64 {
    let bits = number.to_bits();
    let exponent = (bits >> 52 & 0x7ff) as i16;
    let low = bits & ((1 << 52) - 1);
    let mantissa = if exponent == 0 {
        low << 1
    } else {
        low | 1 << 52
    };
    (
        mantissa,
        exponent - 1075,
        if bits >> 63 == 0 { 1 } else { -1 },
    )
}

pub(crate) fn short_parts(number: f32) -> HashableF64 {
    let bits = number.to_bits();
    let exponent = (bits >> 23 & 0xff) as i16;
    let low = u64::from(bits & ((1 << 23) - 1));
    let mantissa = if exponent == 0 {
        low << 1
    } else {
        low | 1 << 23
    };
    (
        mantissa,
        exponent - 150,
        if bits >> 31 == 0 { 1 } else { -1 },
    )
}

fn point(x: f64, y: f64) -> (HashableF64, HashableF64) {
    (parts(x), parts(y))
}

fn ymd(year: i32, month: u32, day: u32) -> Date {
    Date::Ymd((year, month, day))
}

fn time(hour: u32, min: u32, sec: u32, micro: u32) -> Time {
    Time {
        hour,
        min,
        sec,
        micro,
    }
}

fn time_tz(zone: &str) -> TimeTz {
    TimeTz {
        timesonze: zone.to_owned(),
        time: time(1, 2, 3, 4),
    }
}

fn timestamp(date: Date) -> Timestamp {
    Timestamp {
        date,
        time: time(23, 59, 59, 999_999),
    }
}

fn timestamp_tz(date: Date) -> TimestampTz {
    TimestampTz {
        timestamp: timestamp(date),
        offset: Offset::WesternHemisphereSecs(0),
    }
}

fn eui48() -> MacAddressEui48 {
    MacAddressEui48 {
        bytes: (8, 0, 0x2b, 1, 2, 0xff),
    }
}

fn eui64() -> MacAddressEui64 {
    MacAddressEui64 {
        bytes: (8, 0, 0x2b, 1, 2, 3, 4, 0xff),
    }
}

fn interval() -> Interval {
    Interval {
        start: ymd(2024, 2, 1),
        start_inclusive: true,
        end: ymd(2024, 3, 1),
        end_inclusive: false,
    }
}

fn lexeme(position: Option<u16>, weight: Option<LexemeWeight>, data: &str) -> Lexeme {
    Lexeme {
        position,
        weight,
        data: data.to_owned(),
    }
}

/// Values that come back as the case that they went as.
pub(crate) fn same_both_ways() -> Vec<(&'static str, PgValue)> {
    let s = str::to_owned;
    // One of bytes, whatever the bindings hold them in.
    let b = |bytes: &[u8]| bytes.to_vec().into();
    let uuid = || s("6f2c1a34-1111-4222-8333-444455556666");
    let triangle = || vec![point(0.0, 0.0), point(1.5, 0.0), point(0.0, -2.0)];
    vec![
        ("int8", PgValue::Null),
        ("int8", PgValue::Int8(i64::MIN)),
        ("int8[]", PgValue::Int8Array(vec![1, -2, i64::MAX])),
        ("bool", PgValue::Bool(true)),
        ("bool[]", PgValue::BoolArray(vec![true, false])),
        ("float8", PgValue::Float8(parts(-0.1))),
        ("float8", PgValue::Float8(parts(f64::INFINITY))),
        ("float8", PgValue::Float8(parts(5e-324))),
        (
            "float8[]",
            PgValue::Float8Array(vec![parts(1e300), parts(-0.0)]),
        ),
        ("float4", PgValue::Float4(short_parts(0.1))),
        (
            "float4[]",
            PgValue::Float4Array(vec![short_parts(f32::MAX), short_parts(f32::NEG_INFINITY)]),
        ),
        ("int4", PgValue::Int4(i32::MIN)),
        ("int4[]", PgValue::Int4Array(vec![])),
        (
            "numeric",
            PgValue::Numeric(s("-123456789012345678901234567890.000100")),
        ),
        (
            "numeric[]",
            PgValue::NumericArray(vec![s("0.00001"), s("NaN"), s("10000")]),
        ),
        ("int2", PgValue::Int2(i16::MIN)),
        ("int2[]", PgValue::Int2Array(vec![1, -1])),
        ("int2vector", PgValue::Int2Vector(vec![3, 1])),
        (
            "int2vector[]",
            PgValue::Int2VectorArray(vec![vec![3, 1], vec![2]]),
        ),
        (
            "bit(10)",
            PgValue::Bit((10, b(&[0b1010_0000, 0b0100_0000]))),
        ),
        (
            "bit(4)[]",
            PgValue::BitArray(vec![(4, b(&[0xf0])), (4, b(&[0]))]),
        ),
        (
            "varbit[]",
            PgValue::VarbitArray(vec![(Some(3), b(&[0b1010_0000]))]),
        ),
        ("bytea", PgValue::Bytea(b(b"\0\xff'\\"))),
        ("bytea[]", PgValue::ByteaArray(vec![b(b"\0"), b(b"\\x")])),
        ("char(5)", PgValue::Char((5, b(b"abc  ")))),
        (
            "char(1)[]",
            PgValue::CharArray(vec![(1, b(b"a")), (1, b(b"\""))]),
        ),
        ("\"char\"", PgValue::Char((1, b(b"x")))),
        ("varchar", PgValue::Varchar((None, b("ü'".as_bytes())))),
        (
            "varchar[]",
            PgValue::VarcharArray(vec![(None, b(b"a,b")), (None, b(b"{}"))]),
        ),
        ("cidr", PgValue::Cidr(s("10.1.0.0/16"))),
        (
            "cidr[]",
            PgValue::CidrArray(vec![s("2001:db8::/32"), s("10.0.0.1/32")]),
        ),
        ("inet", PgValue::Inet(s("192.168.1.7"))),
        (
            "inet[]",
            PgValue::InetArray(vec![s("::1"), s("10.0.0.1/8")]),
        ),
        ("macaddr", PgValue::Macaddr(eui48())),
        ("macaddr[]", PgValue::MacaddrArray(vec![eui48(), eui48()])),
        ("macaddr8", PgValue::Macaddr8(eui64())),
        ("macaddr8[]", PgValue::Macaddr8Array(vec![eui64()])),
        ("box", PgValue::Box((point(-1.0, -2.0), point(3.0, 4.5)))),
        (
            "box[]",
            PgValue::BoxArray(vec![
                (point(0.0, 0.0), point(1.0, 1.0)),
                (point(-1.0, -2.0), point(3.0, 4.5)),
            ]),
        ),
        ("circle", PgValue::Circle((point(1.0, 2.0), parts(0.5)))),
        (
            "circle[]",
            PgValue::CircleArray(vec![(point(1.0, 2.0), parts(0.5))]),
        ),
        ("line", PgValue::Line((point(0.0, 1.0), point(1.0, 3.0)))),
        ("line", PgValue::Line((point(2.0, 0.0), point(2.0, 1.0)))),
        (
            "line[]",
            PgValue::LineArray(vec![(point(0.0, 1.0), point(1.0, 3.0))]),
        ),
        ("lseg", PgValue::Lseg((point(0.0, 1.0), point(5.0, 3.0)))),
        (
            "lseg[]",
            PgValue::LsegArray(vec![(point(0.0, 1.0), point(5.0, 3.0))]),
        ),
        ("path", PgValue::Path(triangle())),
        ("path[]", PgValue::PathArray(vec![triangle(), triangle()])),
        ("point", PgValue::Point(point(0.1, -1e-9))),
        ("point[]", PgValue::PointArray(triangle())),
        ("polygon", PgValue::Polygon(triangle())),
        ("polygon[]", PgValue::PolygonArray(vec![triangle()])),
        ("date", PgValue::Date(ymd(2024, 2, 29))),
        ("date", PgValue::Date(ymd(-43, 3, 15))),
        (
            "date[]",
            PgValue::DateArray(vec![
                Date::PositiveInfinity,
                Date::NegativeInfinity,
                ymd(1, 1, 1),
            ]),
        ),
        ("daterange", PgValue::Interval(interval())),
        (
            "daterange",
            PgValue::Interval(Interval {
                end: Date::PositiveInfinity,
                ..interval()
            }),
        ),
        (
            "daterange[]",
            PgValue::IntervalArray(vec![interval(), interval()]),
        ),
        ("time", PgValue::Time(time(23, 59, 59, 1))),
        ("time[]", PgValue::TimeArray(vec![time(0, 0, 0, 0)])),
        ("timetz", PgValue::TimeTz(time_tz("+02:00"))),
        (
            "timetz[]",
            PgValue::TimeTzArray(vec![time_tz("-03:30"), time_tz("+00:00")]),
        ),
        (
            "timestamp",
            PgValue::Timestamp(timestamp(ymd(1999, 12, 31))),
        ),
        (
            "timestamp[]",
            PgValue::TimestampArray(vec![timestamp(ymd(-99, 1, 1)), timestamp(ymd(9999, 1, 1))]),
        ),
        (
            "timestamptz",
            PgValue::TimestampTz(timestamp_tz(ymd(2024, 2, 29))),
        ),
        (
            "timestamptz[]",
            PgValue::TimestampTzArray(vec![timestamp_tz(ymd(2024, 2, 29))]),
        ),
        ("json", PgValue::Json(s("{\"a\":[1,null]}"))),
        (
            "json[]",
            PgValue::JsonArray(vec![s("{\"a\":\"\\\"\"}"), s("1")]),
        ),
        ("jsonb[]", PgValue::JsonbArray(vec![s("{\"a\": \"x,y\"}")])),
        ("money", PgValue::Money(s("-1234.05"))),
        ("money[]", PgValue::MoneyArray(vec![s("0.01"), s("1.00")])),
        ("pg_lsn", PgValue::PgLsn(0x0123_4567_89ab_cdef)),
        ("pg_lsn[]", PgValue::PgLsnArray(vec![1, u64::MAX])),
        (
            "pg_snapshot",
            PgValue::PgSnapshot((10, 20, vec![10, 14, 15])),
        ),
        ("name", PgValue::Name(s("a name"))),
        ("name[]", PgValue::NameArray(vec![s("a"), s("b")])),
        ("text", PgValue::Text(s("'; DROP TABLE x; -- $1"))),
        (
            "text[]",
            PgValue::TextArray(vec![s(""), s("NULL"), s("a\"b\\c,{}")]),
        ),
        ("xml", PgValue::Xml(s("<a b=\"c\"/>"))),
        ("xml[]", PgValue::XmlArray(vec![s("<a/>"), s("<b/>")])),
        ("tsquery", PgValue::TsQuery(s("'fat':*AB & !'cat'"))),
        (
            "tsvector",
            PgValue::TsVector(vec![
                lexeme(None, None, "bare"),
                lexeme(Some(2), Some(LexemeWeight::A), "it's"),
                lexeme(Some(3), Some(LexemeWeight::D), "it's"),
            ]),
        ),
        ("uuid", PgValue::Uuid(uuid())),
        ("uuid[]", PgValue::UuidArray(vec![uuid(), uuid()])),
        (
            "hstore",
            PgValue::Hstore(vec![(s("b"), None), (s("a\"\\"), Some(s("=>,")))]),
        ),
    ]
}

/// Values that come back as another case of the same meaning.
pub(crate) fn same_by_another_name() -> Vec<(&'static str, PgValue, PgValue)> {
    let s = str::to_owned;
    // One of bytes, whatever the bindings hold them in.
    let b = |bytes: &[u8]| bytes.to_vec().into();
    vec![
        ("int8", PgValue::BigInt(7), PgValue::Int8(7)),
        ("int8", PgValue::BigSerial(7), PgValue::Int8(7)),
        ("int8", PgValue::Serial8(7), PgValue::Int8(7)),
        ("bool", PgValue::Boolean(false), PgValue::Bool(false)),
        (
            "float8",
            PgValue::Double(parts(2.5)),
            PgValue::Float8(parts(2.5)),
        ),
        (
            "float8",
            PgValue::Double((5, -1, 1)),
            PgValue::Float8(parts(2.5)),
        ),
        (
            "float4",
            PgValue::Real(short_parts(2.5)),
            PgValue::Float4(short_parts(2.5)),
        ),
        ("int4", PgValue::Integer(7), PgValue::Int4(7)),
        ("int4", PgValue::Int(7), PgValue::Int4(7)),
        ("int4", PgValue::Serial(7), PgValue::Int4(7)),
        ("int4", PgValue::Serial4(7), PgValue::Int4(7)),
        ("int2", PgValue::SmallInt(7), PgValue::Int2(7)),
        ("int2", PgValue::SmallSerial(7), PgValue::Int2(7)),
        ("int2", PgValue::Serial2(7), PgValue::Int2(7)),
        (
            "numeric",
            PgValue::Decimal(s("1.50")),
            PgValue::Numeric(s("1.50")),
        ),
        (
            "varbit",
            PgValue::Varbit((Some(3), b(&[0xe0]))),
            PgValue::Bit((3, b(&[0xe0]))),
        ),
        (
            "varbit",
            PgValue::BitVarying((None, b(&[0xe0]))),
            PgValue::Bit((8, b(&[0xe0]))),
        ),
        (
            "jsonb",
            PgValue::Jsonb(s("{\"a\":1}")),
            PgValue::Json(s("{\"a\": 1}")),
        ),
        (
            "txid_snapshot",
            PgValue::TxidSnapshot(12),
            PgValue::PgSnapshot((12, 12, vec![])),
        ),
        (
            "interval",
            PgValue::Interval(interval()),
            PgValue::Text(s("29 days")),
        ),
        (
            "interval[]",
            PgValue::IntervalArray(vec![interval()]),
            PgValue::TextArray(vec![s("29 days")]),
        ),
        ("int8", PgValue::Int2(3), PgValue::Int8(3)),
        (
            "timestamptz",
            PgValue::TimestampTz(TimestampTz {
                offset: Offset::EasternHemisphereSecs(3600),
                ..timestamp_tz(ymd(2024, 3, 1))
            }),
            PgValue::TimestampTz(TimestampTz {
                timestamp: Timestamp {
                    date: ymd(2024, 3, 1),
                    time: time(22, 59, 59, 999_999),
                },
                offset: Offset::WesternHemisphereSecs(0),
            }),
        ),
    ]
}

/// The name of the case.
pub(crate) fn case(value: &PgValue) -> String {
    let shown = shown(value);
    let name = shown.trim_start_matches("PgValue::");
    name.split('(').next().unwrap_or_default().to_owned()
}
