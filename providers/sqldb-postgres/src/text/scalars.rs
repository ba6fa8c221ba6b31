//! Values that hold no others.

use crate::binary::{Day, Reader, Unreadable, clock, moment};

type Written = Result<String, Unreadable>;

/// A number as the server writes it: the fewest digits that tell it from others.
pub(super) fn float(number: f64) -> String {
    match number.is_finite() {
        true => shortest(&format!("{number:e}"), 15),
        false => not_finite(number),
    }
}

/// The same of a short one.
pub(super) fn short_float(number: f32) -> String {
    match number.is_finite() {
        true => shortest(&format!("{number:e}"), 6),
        false => not_finite(number.into()),
    }
}

fn not_finite(number: f64) -> String {
    let name = match (number.is_nan(), number > 0.0) {
        (true, _) => "NaN",
        (false, true) => "Infinity",
        (false, false) => "-Infinity",
    };
    name.to_owned()
}

/// Writes `-1.25e3` as `-1250`; with an exponent where it has more than `digits` digits before its
/// point, or four zeros after it.
fn shortest(scientific: &str, digits: i32) -> String {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    if !(-4..digits).contains(&exponent) {
        let size = exponent.unsigned_abs();
        let direction = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{mantissa}e{direction}{size:02}");
    }
    let all: String = mantissa.chars().filter(|c| *c != '.').collect();
    let Ok(before) = usize::try_from(exponent + 1) else {
        // It is above -4.
        let zeros = "0".repeat(usize::try_from(-exponent - 1).unwrap_or_default());
        return format!("{sign}0.{zeros}{all}");
    };
    match before {
        0 => format!("{sign}0.{all}"),
        _ if before >= all.len() => format!("{sign}{all:0<before$}"),
        _ => format!("{sign}{}.{}", &all[..before], &all[before..]),
    }
}

/// The place of a row: `(block,number)`.
pub(super) fn tid(raw: &[u8]) -> Written {
    let mut reader = Reader::new("tid", raw);
    Ok(format!("({},{})", reader.u32()?, reader.u16()?))
}

pub(super) fn time(raw: &[u8]) -> Written {
    Ok(clock(Reader::new("time", raw).i64()?)?.text())
}

/// `12:00:00+02`; the server says how far west it is.
pub(super) fn time_tz(raw: &[u8]) -> Written {
    let mut reader = Reader::new("timetz", raw);
    let time = clock(reader.i64()?)?.text();
    let west = reader.i32()?;
    let sign = if west > 0 { '-' } else { '+' };
    let size = west.unsigned_abs();
    let mut zone = format!("{sign}{:02}", size / 3600);
    let (minutes, seconds) = (size / 60 % 60, size % 60);
    if minutes != 0 || seconds != 0 {
        zone.push_str(&format!(":{minutes:02}"));
    }
    if seconds != 0 {
        zone.push_str(&format!(":{seconds:02}"));
    }
    Ok(time + &zone)
}

/// `2024-02-29 12:00:00`, with `zone` behind it.
pub(super) fn timestamp(raw: &[u8], zone: &str) -> Written {
    let (day, clock) = moment(Reader::new("timestamp", raw).i64()?)?;
    let (date, era) = day.text();
    Ok(match day {
        Day::Of(..) => format!("{date} {}{zone}{era}", clock.text()),
        Day::First | Day::Last => date,
    })
}

/// `'a':1A,2 'b'` of a `tsvector`.
pub(super) fn words(raw: &[u8]) -> Written {
    let mut reader = Reader::new("tsvector", raw);
    let mut words = Vec::new();
    for _ in 0..reader.count()? {
        let word = reader.c_text()?;
        let mut text = format!("'{}'", word.replace('\\', "\\\\").replace('\'', "''"));
        for at in 0..reader.u16()? {
            // The upper two bits are the weight.
            let place = reader.u16()?;
            let weight = ["", "C", "B", "A"][usize::from(place >> 14)];
            let before = if at == 0 { ':' } else { ',' };
            text.push_str(&format!("{before}{}{weight}", place & 0x3fff));
        }
        words.push(text);
    }
    Ok(words.join(" "))
}

/// `"a"=>"1", "b"=>NULL`.
pub(super) fn hstore(raw: &[u8]) -> Written {
    let mut reader = Reader::new("hstore", raw);
    let mut entries = Vec::new();
    let quoted = |raw: &[u8]| -> Written {
        let text = Reader::new("hstore", raw).text()?;
        Ok(format!(
            "\"{}\"",
            text.replace('\\', "\\\\").replace('"', "\\\"")
        ))
    };
    for _ in 0..reader.count()? {
        let key = quoted(reader.piece()?.ok_or(Unreadable("hstore"))?)?;
        let value = match reader.piece()? {
            Some(raw) => quoted(raw)?,
            None => "NULL".to_owned(),
        };
        entries.push(format!("{key}=>{value}"));
    }
    Ok(entries.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_server_does() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (-1250.5, "-1250.5"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (1.5e300, "1.5e+300"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(float(number), text);
        }
        assert_eq!(short_float(0.1), "0.1");
        assert_eq!(short_float(1e6), "1e+06");
        assert_eq!(short_float(123_456.0), "123456");
    }
}
