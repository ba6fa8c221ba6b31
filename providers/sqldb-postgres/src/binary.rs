//! How PostgreSQL sends its values, read.

/// Bytes that are not what their type says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server sent a value that is no {0}")]
pub(crate) struct Unreadable(pub(crate) &'static str);

/// A value, front to back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` as what `what` says.
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { bytes, what }
    }

    pub(crate) fn wrong(&self) -> Unreadable {
        Unreadable(self.what)
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Unreadable> {
        let Some((head, rest)) = self.bytes.split_at_checked(len) else {
            return Err(self.wrong());
        };
        self.bytes = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let what = self.wrong();
        self.take(N)?.try_into().map_err(|_| what)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Unreadable> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Unreadable> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn i16(&mut self) -> Result<i16, Unreadable> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Unreadable> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Unreadable> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Unreadable> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub(crate) fn f64(&mut self) -> Result<f64, Unreadable> {
        Ok(f64::from_be_bytes(self.array()?))
    }

    pub(crate) fn f32(&mut self) -> Result<f32, Unreadable> {
        Ok(f32::from_be_bytes(self.array()?))
    }

    /// A count that has to be believed for what is there only.
    pub(crate) fn count(&mut self) -> Result<usize, Unreadable> {
        usize::try_from(self.i32()?).map_err(|_| self.wrong())
    }

    /// All that is left, as text.
    pub(crate) fn text(&mut self) -> Result<&'a str, Unreadable> {
        let rest = std::mem::take(&mut self.bytes);
        std::str::from_utf8(rest).map_err(|_| self.wrong())
    }

    /// A text that ends with a zero.
    pub(crate) fn c_text(&mut self) -> Result<&'a str, Unreadable> {
        let end = self.bytes.iter().position(|byte| *byte == 0);
        let text = self.take(end.ok_or_else(|| self.wrong())?)?;
        self.take(1)?;
        std::str::from_utf8(text).map_err(|_| self.wrong())
    }

    /// A piece with its length before it; `None` is null.
    pub(crate) fn piece(&mut self) -> Result<Option<&'a [u8]>, Unreadable> {
        match self.i32()? {
            -1 => Ok(None),
            len => {
                let len = usize::try_from(len).map_err(|_| self.wrong())?;
                self.take(len).map(Some)
            }
        }
    }
}

/// How long the texts of one value may be together, in bytes. A few bytes of the server can stand for
/// a text of thousands of them.
const LONGEST: usize = if cfg!(test) { 1 << 20 } else { 64 << 20 };

/// What is left for the texts of a value.
#[derive(Debug)]
pub(crate) struct Room(usize);

impl Default for Room {
    fn default() -> Self {
        Self(LONGEST)
    }
}

impl Room {
    /// How much was taken.
    pub(crate) fn taken(&self) -> usize {
        LONGEST - self.0
    }

    /// Takes as much as a text of `len` bytes needs.
    pub(crate) fn take(&mut self, len: usize) -> Result<(), Unreadable> {
        let left = self.0.checked_sub(len);
        self.0 = left.ok_or(Unreadable("value of less than 64 MiB of text"))?;
        Ok(())
    }
}

/// The items of an array of one dimension, where none is null.
pub(crate) fn items(bytes: &[u8]) -> Result<Vec<&[u8]>, Unreadable> {
    let mut reader = Reader::new("array of one dimension", bytes);
    let dimensions = reader.i32()?;
    reader.take(8)?;
    if dimensions == 0 {
        return Ok(Vec::new());
    }
    if dimensions != 1 {
        return Err(reader.wrong());
    }
    let count = reader.count()?;
    reader.take(4)?;
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(reader.piece()?.ok_or(Unreadable("array without nulls"))?);
    }
    Ok(items)
}

/// The text of a `numeric`: groups of four decimal digits with the place of the first one.
pub(crate) fn numeric(bytes: &[u8]) -> Result<String, Unreadable> {
    let mut reader = Reader::new("numeric", bytes);
    let count = reader.u16()?;
    let weight = i32::from(reader.i16()?);
    let sign = reader.u16()?;
    let scale = usize::from(reader.u16()?);
    let mut text = match sign {
        0 => String::new(),
        0x4000 => "-".to_owned(),
        0xC000 => return Ok("NaN".to_owned()),
        0xD000 => return Ok("Infinity".to_owned()),
        0xF000 => return Ok("-Infinity".to_owned()),
        _ => return Err(reader.wrong()),
    };
    let mut groups = Vec::new();
    for _ in 0..count {
        groups.push(reader.u16()?);
    }
    let group = |place: i32| {
        let at = usize::try_from(weight - place).ok();
        at.and_then(|at| groups.get(at)).copied().unwrap_or(0)
    };
    if weight < 0 {
        text.push('0');
    }
    for place in (0..=weight).rev() {
        match place == weight {
            true => text.push_str(&group(place).to_string()),
            false => text.push_str(&format!("{:04}", group(place))),
        }
    }
    if scale > 0 {
        let places = i32::try_from(scale.div_ceil(4)).map_err(|_| reader.wrong())?;
        let digits: String = (1..=places)
            .map(|at| format!("{:04}", group(-at)))
            .collect();
        text.push('.');
        text.push_str(&digits[..scale]);
    }
    Ok(text)
}

/// A day of the calendar, or one before or after all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Day {
    /// Before all others.
    First,
    /// After all others.
    Last,
    /// Year, month and day; the year before 1 is 0.
    Of(i32, u32, u32),
}

/// From 0000-03-01 to 2000-01-01, in days.
const TO_2000: i64 = 730_425;
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// The day that is so many days after 2000-01-01.
pub(crate) fn day(days: i32) -> Day {
    match days {
        i32::MAX => return Day::Last,
        i32::MIN => return Day::First,
        _ => {}
    }
    // Years that begin in March have their leap day at their end, and repeat every 400 years.
    let from_march = i64::from(days) + TO_2000;
    let (era, in_era) = (
        from_march.div_euclid(146_097),
        from_march.rem_euclid(146_097),
    );
    let year = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month + 2) / 5 + 1;
    let (month, is_next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = era * 400 + year + is_next;
    // Days are 32 bits, so that all of these are small.
    let small = |number: i64| u32::try_from(number).unwrap_or_default();
    Day::Of(
        i32::try_from(year).unwrap_or_default(),
        small(month),
        small(day),
    )
}

/// A time of day in its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clock {
    pub(crate) hour: u32,
    pub(crate) minute: u32,
    pub(crate) second: u32,
    pub(crate) micro: u32,
}

/// The time that is so many microseconds after midnight.
pub(crate) fn clock(micros: i64) -> Result<Clock, Unreadable> {
    let micros = u64::try_from(micros).map_err(|_| Unreadable("time"))?;
    let part = |number: u64| u32::try_from(number).map_err(|_| Unreadable("time"));
    let seconds = micros / 1_000_000;
    Ok(Clock {
        hour: part(seconds / 3600)?,
        minute: part(seconds / 60 % 60)?,
        second: part(seconds % 60)?,
        micro: part(micros % 1_000_000)?,
    })
}

/// The moment that is so many microseconds after 2000-01-01.
pub(crate) fn moment(micros: i64) -> Result<(Day, Clock), Unreadable> {
    match micros {
        i64::MAX => return Ok((Day::Last, clock(0)?)),
        i64::MIN => return Ok((Day::First, clock(0)?)),
        _ => {}
    }
    let days = i32::try_from(micros.div_euclid(MICROS_PER_DAY));
    let days = days.map_err(|_| Unreadable("timestamp"))?;
    Ok((day(days), clock(micros.rem_euclid(MICROS_PER_DAY))?))
}

impl Clock {
    /// `hh:mm:ss`, with as many digits after it as are needed.
    pub(crate) fn text(self) -> String {
        let Self {
            hour,
            minute,
            second,
            micro,
        } = self;
        let text = format!("{hour:02}:{minute:02}:{second:02}");
        match micro {
            0 => text,
            micro => format!("{text}.{micro:06}")
                .trim_end_matches('0')
                .to_owned(),
        }
    }
}

impl Day {
    /// `yyyy-mm-dd` and the era; PostgreSQL counts years before 1 backwards from 1.
    pub(crate) fn text(self) -> (String, &'static str) {
        match self {
            Self::First => ("-infinity".to_owned(), ""),
            Self::Last => ("infinity".to_owned(), ""),
            Self::Of(year, month, day) if year > 0 => {
                (format!("{year:04}-{month:02}-{day:02}"), "")
            }
            Self::Of(year, month, day) => {
                let year = 1 - i64::from(year);
                (format!("{year:04}-{month:02}-{day:02}"), " BC")
            }
        }
    }
}

/// `date` as text.
pub(crate) fn date_text(bytes: &[u8]) -> Result<String, Unreadable> {
    let (text, era) = day(Reader::new("date", bytes).i32()?).text();
    Ok(text + era)
}

/// `timestamp` as text, with `zone` behind it.
pub(crate) fn timestamp_text(bytes: &[u8], zone: &str) -> Result<String, Unreadable> {
    let (day, clock) = moment(Reader::new("timestamp", bytes).i64()?)?;
    let (date, era) = day.text();
    Ok(match day {
        Day::Of(..) => format!("{date}T{}{zone}{era}", clock.text()),
        Day::First | Day::Last => date,
    })
}

/// `interval` as text, such as `1 year 2 mons 3 days -00:00:01`: after a part below zero a part above
/// it has a plus sign.
pub(crate) fn interval_text(bytes: &[u8]) -> Result<String, Unreadable> {
    let mut reader = Reader::new("interval", bytes);
    let micros = reader.i64()?;
    let (days, months) = (reader.i32()?, reader.i32()?);
    let mut parts = Vec::new();
    let mut was_negative = false;
    for (number, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if number != 0 {
            let sign = if was_negative && number > 0 { "+" } else { "" };
            let plural = if number == 1 { "" } else { "s" };
            parts.push(format!("{sign}{number} {unit}{plural}"));
            was_negative = number < 0;
        }
    }
    if micros != 0 || parts.is_empty() {
        let sign = match micros < 0 {
            true => "-",
            false if was_negative => "+",
            false => "",
        };
        let size = i64::try_from(micros.unsigned_abs()).map_err(|_| reader.wrong())?;
        parts.push(format!("{sign}{}", clock(size)?.text()));
    }
    Ok(parts.join(" "))
}

/// `uuid` as text.
pub(crate) fn uuid_text(bytes: &[u8]) -> Result<String, Unreadable> {
    let uuid = uuid::Uuid::from_slice(bytes).map_err(|_| Unreadable("uuid"))?;
    Ok(uuid.to_string())
}

/// `jsonb` without the number of its version.
pub(crate) fn jsonb_text(bytes: &[u8]) -> Result<&str, Unreadable> {
    let mut reader = Reader::new("jsonb", bytes);
    match reader.u8()? {
        1 => reader.text(),
        _ => Err(reader.wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (days, day_of) in [
            (0, Day::Of(2000, 1, 1)),
            (59, Day::Of(2000, 2, 29)),
            (60, Day::Of(2000, 3, 1)),
            (-1, Day::Of(1999, 12, 31)),
            (-730_119, Day::Of(1, 1, 1)),
            (-730_120, Day::Of(0, 12, 31)),
            (8_825, Day::Of(2024, 2, 29)),
        ] {
            assert_eq!(day(days), day_of, "{days}");
        }
        assert_eq!(Day::Of(0, 12, 31).text(), ("0001-12-31".to_owned(), " BC"));
        let first = Day::Of(i32::MIN, 1, 1).text();
        assert_eq!(first, ("2147483649-01-01".to_owned(), " BC"));
    }

    #[test]
    fn numbers_are_written_out() {
        let numeric_of = |weight: i16, sign: u16, scale: u16, groups: &[u16]| {
            let mut bytes = Vec::new();
            bytes.extend(u16::try_from(groups.len()).unwrap().to_be_bytes());
            bytes.extend(weight.to_be_bytes());
            bytes.extend(sign.to_be_bytes());
            bytes.extend(scale.to_be_bytes());
            groups
                .iter()
                .for_each(|group| bytes.extend(group.to_be_bytes()));
            numeric(&bytes).unwrap()
        };
        assert_eq!(numeric_of(0, 0, 0, &[]), "0");
        assert_eq!(numeric_of(1, 0x4000, 2, &[1, 2345, 6700]), "-12345.67");
        assert_eq!(numeric_of(-2, 0, 7, &[1200]), "0.0000120");
        assert_eq!(numeric_of(2, 0, 0, &[1]), "100000000");
        assert_eq!(numeric_of(0, 0xC000, 0, &[]), "NaN");
    }

    #[test]
    fn what_is_too_short_is_refused() {
        for bytes in [&[][..], &[0], &[0, 1, 0, 0, 0, 0, 0, 0]] {
            assert!(numeric(bytes).is_err());
            assert!(items(bytes).is_err());
        }
        assert!(clock(-1).is_err());
    }
}
