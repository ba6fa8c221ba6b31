//! Values on their way to the server and back.

use lattice_provider_sdk::sql::{self, SqlError, Value};
use mysql_async::consts::{ColumnFlags, ColumnType};
use mysql_async::{Column, Row, Value as Sent};

use crate::decimals::whole;

/// The character set of bytes that are no text.
const NO_TEXT: u16 = 63;

/// The parameters of a statement.
pub(crate) fn sent(values: Vec<Value>) -> Result<Vec<Sent>, SqlError> {
    values.into_iter().map(one).collect()
}

fn one(value: Value) -> Result<Sent, SqlError> {
    Ok(match value {
        Value::Null => Sent::NULL,
        Value::Boolean(is) => Sent::Int(is.into()),
        Value::Int(number) => Sent::Int(number),
        Value::Float(number) if number.is_finite() => Sent::Double(number),
        Value::Float(_) => {
            let what = "MySQL keeps no number that is infinite or none (NaN); use null";
            return Err(SqlError::invalid(what));
        }
        Value::Bytes(bytes) => Sent::Bytes(bytes.to_vec()),
        Value::Timestamp(text) => match moment(&text) {
            Some(moment) => moment,
            // The server says what is wrong with it.
            None => Sent::Bytes(text.into_bytes()),
        },
        Value::Decimal(text) => match whole(&text) {
            Some(number) => number,
            None => Sent::Bytes(text.into_bytes()),
        },
        Value::Text(text)
        | Value::Date(text)
        | Value::Time(text)
        | Value::Uuid(text)
        | Value::Json(text)
        | Value::Other((_, text)) => Sent::Bytes(text.into_bytes()),
    })
}

/// A time of RFC 3339, with its offset taken off.
fn moment(text: &str) -> Option<Sent> {
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (time, zone) = rest.split_at(rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len()));
    let mut date = date.split('-');
    let (year, month, day) = (date.next()?, date.next()?, date.next()?);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut clock = clock.split(':');
    let (hour, minute, second) = (clock.next()?, clock.next()?, clock.next()?);
    let micros = format!("{fraction:0<6.6}");
    let written = (number(year)?, number(month)?, number(day)?);
    let days = days_of(written.0, written.1, written.2);
    let (hour, minute, second) = (number(hour)?, number(minute)?, number(second)?);
    // What is no time must not be reckoned into another one. A leap second is for the server to judge.
    if date_of(days) != written || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let minutes = hour * 60 + minute - offset(zone)?;
    let (year, month, day) = date_of(days + minutes.div_euclid(1440));
    let in_day = minutes.rem_euclid(1440);
    let small = |number: i64| u8::try_from(number).ok();
    Some(Sent::Date(
        u16::try_from(year).ok()?,
        small(month)?,
        small(day)?,
        small(in_day / 60)?,
        small(in_day % 60)?,
        small(second)?,
        micros.parse().ok()?,
    ))
}

/// A number of so few digits that it can be reckoned with; the server says what is wrong with others.
fn number(text: &str) -> Option<i64> {
    text.parse::<u16>().ok().map(i64::from)
}

/// Minutes east.
fn offset(zone: &str) -> Option<i64> {
    let sign = match zone.chars().next() {
        None | Some('Z' | 'z') => return Some(0),
        Some('+') => 1,
        Some(_) => -1,
    };
    let (hours, minutes) = zone[1..].split_once(':')?;
    Some(sign * (number(hours)? * 60 + number(minutes)?))
}

/// Counts days from 0000-03-01 on, so that a leap day is the last one of its year.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leaps + (153 * month + 2) / 5 + day - 1
}

/// The year, month and day of such a count.
fn date_of(days: i64) -> (i64, i64, i64) {
    let (era, in_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month + 2) / 5 + 1;
    let (month, is_next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + is_next, month, day)
}

/// The type of a column, as the server's statements call it.
pub(crate) fn type_name(column: &Column) -> &'static str {
    let is_text = column.character_set() != NO_TEXT;
    match column.column_type() {
        ColumnType::MYSQL_TYPE_TINY => "tinyint",
        ColumnType::MYSQL_TYPE_SHORT => "smallint",
        ColumnType::MYSQL_TYPE_INT24 => "mediumint",
        ColumnType::MYSQL_TYPE_LONG => "int",
        ColumnType::MYSQL_TYPE_LONGLONG => "bigint",
        ColumnType::MYSQL_TYPE_FLOAT => "float",
        ColumnType::MYSQL_TYPE_DOUBLE => "double",
        ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL => "decimal",
        ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_NEWDATE => "date",
        ColumnType::MYSQL_TYPE_TIME | ColumnType::MYSQL_TYPE_TIME2 => "time",
        ColumnType::MYSQL_TYPE_DATETIME | ColumnType::MYSQL_TYPE_DATETIME2 => "datetime",
        ColumnType::MYSQL_TYPE_TIMESTAMP | ColumnType::MYSQL_TYPE_TIMESTAMP2 => "timestamp",
        ColumnType::MYSQL_TYPE_YEAR => "year",
        ColumnType::MYSQL_TYPE_BIT => "bit",
        ColumnType::MYSQL_TYPE_JSON => "json",
        ColumnType::MYSQL_TYPE_ENUM => "enum",
        ColumnType::MYSQL_TYPE_SET => "set",
        ColumnType::MYSQL_TYPE_GEOMETRY => "geometry",
        ColumnType::MYSQL_TYPE_NULL => "null",
        ColumnType::MYSQL_TYPE_STRING if is_text => "char",
        ColumnType::MYSQL_TYPE_STRING => "binary",
        ColumnType::MYSQL_TYPE_VAR_STRING | ColumnType::MYSQL_TYPE_VARCHAR if is_text => "varchar",
        ColumnType::MYSQL_TYPE_VAR_STRING | ColumnType::MYSQL_TYPE_VARCHAR => "varbinary",
        _ if is_text => "text",
        _ => "blob",
    }
}

/// The values of a row.
pub(crate) fn row_of(row: Row) -> Result<(sql::Row, usize), SqlError> {
    let columns = row.columns();
    let mut size = 0;
    let mut values = Vec::with_capacity(columns.len());
    for (column, came) in columns.iter().zip(row.unwrap()) {
        if let Sent::Bytes(bytes) = &came {
            size += bytes.len();
        }
        size += 8;
        values.push(value(column, came)?);
    }
    Ok((values, size))
}

fn value(column: &Column, came: Sent) -> Result<Value, SqlError> {
    let ty = column.column_type();
    Ok(match came {
        Sent::NULL => Value::Null,
        Sent::Int(number @ (0 | 1)) if is_truth(column) => Value::Boolean(number == 1),
        Sent::Int(number) => Value::Int(number),
        Sent::UInt(number) => match i64::try_from(number) {
            Ok(number) => Value::Int(number),
            Err(_) => Value::Decimal(number.to_string()),
        },
        Sent::Float(number) => {
            // The number that it is written as: 0.1 rather than 0.10000000149011612.
            let written: Result<f64, _> = number.to_string().parse();
            Value::Float(written.unwrap_or_else(|_| f64::from(number)))
        }
        Sent::Double(number) => Value::Float(number),
        Sent::Date(year, month, day, ..) if is_date(ty) => {
            Value::Date(format!("{year:04}-{month:02}-{day:02}"))
        }
        Sent::Date(year, month, day, hour, minute, second, micros) => {
            let clock = clock(hour.into(), minute, second, micros);
            let zone = match ty {
                ColumnType::MYSQL_TYPE_TIMESTAMP | ColumnType::MYSQL_TYPE_TIMESTAMP2 => "Z",
                _ => "",
            };
            Value::Timestamp(format!("{year:04}-{month:02}-{day:02}T{clock}{zone}"))
        }
        Sent::Time(false, 0, hour, minute, second, micros) => {
            Value::Time(clock(hour.into(), minute, second, micros))
        }
        Sent::Time(is_negative, days, hour, minute, second, micros) => {
            let sign = if is_negative { "-" } else { "" };
            let hours = days.saturating_mul(24).saturating_add(hour.into());
            let clock = clock(hours, minute, second, micros);
            Value::Other(("time".to_owned(), format!("{sign}{clock}")))
        }
        Sent::Bytes(bytes) => of_bytes(column, bytes)?,
    })
}

fn is_truth(column: &Column) -> bool {
    column.column_type() == ColumnType::MYSQL_TYPE_TINY
        && column.column_length() == 1
        && !column.flags().contains(ColumnFlags::UNSIGNED_FLAG)
}

fn is_date(ty: ColumnType) -> bool {
    matches!(
        ty,
        ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_NEWDATE
    )
}

/// `hh:mm:ss`, with as many digits after it as are needed.
fn clock(hour: u32, minute: u8, second: u8, micros: u32) -> String {
    let text = format!("{hour:02}:{minute:02}:{second:02}");
    match micros {
        0 => text,
        micros => format!("{text}.{micros:06}")
            .trim_end_matches('0')
            .to_owned(),
    }
}

fn of_bytes(column: &Column, bytes: Vec<u8>) -> Result<Value, SqlError> {
    let ty = column.column_type();
    let text = |bytes: Vec<u8>| {
        String::from_utf8(bytes).map_err(|_| {
            let name = column.name_str();
            SqlError::other(format!("the text in the column `{name}` is no UTF-8"))
        })
    };
    Ok(match ty {
        ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL => {
            Value::Decimal(text(bytes)?)
        }
        ColumnType::MYSQL_TYPE_JSON => Value::Json(text(bytes)?),
        ColumnType::MYSQL_TYPE_BIT => {
            let number = bytes
                .iter()
                .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
            match i64::try_from(number) {
                Ok(number) => Value::Int(number),
                Err(_) => Value::Decimal(number.to_string()),
            }
        }
        ColumnType::MYSQL_TYPE_GEOMETRY => Value::Bytes(bytes.into()),
        _ if column.character_set() == NO_TEXT => Value::Bytes(bytes.into()),
        _ => Value::Text(text(bytes)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_taken_off() {
        for (text, wanted) in [
            ("2024-02-29T12:00:00Z", Sent::Date(2024, 2, 29, 12, 0, 0, 0)),
            (
                "2024-03-01T00:30:00.5+01:00",
                Sent::Date(2024, 2, 29, 23, 30, 0, 500_000),
            ),
            (
                "1999-12-31T23:59:59.000001-00:30",
                Sent::Date(2000, 1, 1, 0, 29, 59, 1),
            ),
            ("2024-01-01 00:00:00", Sent::Date(2024, 1, 1, 0, 0, 0, 0)),
        ] {
            assert_eq!(moment(text), Some(wanted), "{text}");
        }
        for text in [
            "",
            "2024",
            "2024-01-01",
            "2024-01-01T1",
            "2023-02-29T12:00:00Z",
            "2024-04-31T12:00:00Z",
            "2024-13-01T12:00:00Z",
            "2024-00-10T12:00:00Z",
            "2024-01-00T12:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:61Z",
            "2024-01-01T00:00:00+x",
            "2024-01-01T999999999999999999:00:00Z",
            "2024-01-01T00:00:00-9223372036854775807:00",
            "2024-01-01T00:00:00+00:-9223372036854775808",
            "äääääääääääää",
        ] {
            assert_eq!(moment(text), None, "{text}");
        }
    }
}
