//! Reading values from bytes that are not trusted.

use bytes::Bytes;

use crate::DecodeError;

/// Reads values from a buffer, front to back.
///
/// Nothing is copied: byte lists and strings are slices of the buffer. A failed read leaves the
/// position undefined; to go on with more bytes, decode again from the start of the larger
/// buffer.
#[derive(Debug, Clone)]
pub struct Reader {
    buf: Bytes,
    pos: usize,
    limit: u64,
}

impl Reader {
    /// The largest length or count that is believed at all, in items. A value is never larger
    /// than what the transport collects for it, so this only has to be above that.
    pub const DEFAULT_LIMIT: u64 = 256 * 1024 * 1024;

    /// Starts reading at the front of `buf`.
    pub fn new(buf: Bytes) -> Self {
        Self {
            buf,
            pos: 0,
            limit: Self::DEFAULT_LIMIT,
        }
    }

    /// Sets the largest length or count that is accepted.
    #[must_use]
    pub fn with_limit(mut self, limit: u64) -> Self {
        self.limit = limit;
        self
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.pos
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.buf.len() - self.pos
    }

    /// Ends reading.
    ///
    /// # Errors
    ///
    /// Returns [`DecodeError::Trailing`] when bytes are left over.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing(left)),
        }
    }

    /// Reads one raw byte.
    ///
    /// # Errors
    ///
    /// Returns [`DecodeError::Incomplete`] at the end of the buffer.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        let byte = *self
            .buf
            .get(self.pos)
            .ok_or(DecodeError::Incomplete { needed: 1 })?;
        self.pos += 1;
        Ok(byte)
    }

    /// Reads `n` raw bytes as a slice of the buffer.
    ///
    /// # Errors
    ///
    /// Returns [`DecodeError::Incomplete`] when fewer than `n` bytes are left.
    pub fn take(&mut self, n: usize) -> Result<Bytes, DecodeError> {
        let left = self.remaining();
        if n > left {
            return Err(DecodeError::Incomplete { needed: n - left });
        }
        let slice = self.buf.slice(self.pos..self.pos + n);
        self.pos += n;
        Ok(slice)
    }

    /// Reads an unsigned LEB128 number of at most `bits` bits.
    ///
    /// # Errors
    ///
    /// [`DecodeError::IntegerOverflow`] when it does not fit, [`DecodeError::Incomplete`] when
    /// it is cut off.
    pub fn uleb(&mut self, bits: u32) -> Result<u64, DecodeError> {
        let overflow = DecodeError::IntegerOverflow { bits };
        let mut value = 0u64;
        let mut shift = 0u32;
        loop {
            let byte = self.u8()?;
            let part = u64::from(byte & 0x7f);
            let free = bits.saturating_sub(shift);
            if free == 0 || (free < 7 && part >> free != 0) {
                return Err(overflow);
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    /// Reads a signed LEB128 number of at most `bits` bits.
    ///
    /// # Errors
    ///
    /// As [`Reader::uleb`].
    pub fn sleb(&mut self, bits: u32) -> Result<i64, DecodeError> {
        let overflow = DecodeError::IntegerOverflow { bits };
        let mut value = 0i128;
        let mut shift = 0u32;
        loop {
            let byte = self.u8()?;
            if shift >= bits {
                return Err(overflow);
            }
            value |= i128::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                if byte & 0x40 != 0 {
                    value -= 1i128 << shift;
                }
                break;
            }
        }
        let min = -(1i128 << (bits - 1));
        if value < min || value >= -min {
            return Err(overflow);
        }
        i64::try_from(value).map_err(|_| overflow)
    }

    /// Reads a `u16`.
    ///
    /// # Errors
    ///
    /// As [`Reader::uleb`].
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.uleb(16).map(|v| v as u16)
    }

    /// Reads a `u32`, also a case number.
    ///
    /// # Errors
    ///
    /// As [`Reader::uleb`].
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.uleb(32).map(|v| v as u32)
    }

    /// Reads a `u64`.
    ///
    /// # Errors
    ///
    /// As [`Reader::uleb`].
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.uleb(64)
    }

    /// Reads an `f32`.
    ///
    /// # Errors
    ///
    /// Returns [`DecodeError::Incomplete`] when it is cut off.
    pub fn f32(&mut self) -> Result<f32, DecodeError> {
        let raw = self.take(4)?;
        Ok(f32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]))
    }

    /// Reads an `f64`.
    ///
    /// # Errors
    ///
    /// Returns [`DecodeError::Incomplete`] when it is cut off.
    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        let raw = self.take(8)?;
        let mut bits = [0; 8];
        bits.copy_from_slice(&raw);
        Ok(f64::from_le_bytes(bits))
    }

    fn tag(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            byte => Err(DecodeError::InvalidTag { what, byte }),
        }
    }

    /// Reads a boolean.
    ///
    /// # Errors
    ///
    /// [`DecodeError::InvalidTag`] for a byte other than 0 and 1.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        self.tag("bool")
    }

    /// Reads an `option`, its value with `some`.
    ///
    /// # Errors
    ///
    /// [`DecodeError::InvalidTag`], or what `some` returns.
    pub fn option<T>(
        &mut self,
        some: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.tag("option")? {
            some(self).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Reads the tag of a `result`; true stands for `err`.
    ///
    /// # Errors
    ///
    /// [`DecodeError::InvalidTag`] for a byte other than 0 and 1.
    pub fn result_is_err(&mut self) -> Result<bool, DecodeError> {
        self.tag("result")
    }

    /// Reads the tag of a `future`; true means that its value follows, false that it is pending.
    ///
    /// # Errors
    ///
    /// [`DecodeError::InvalidTag`] for a byte other than 0 and 1.
    pub fn future_is_ready(&mut self) -> Result<bool, DecodeError> {
        self.tag("future")
    }

    /// Reads a case number of a type that has `cases` cases.
    ///
    /// # Errors
    ///
    /// [`DecodeError::InvalidCase`] when there is no such case.
    pub fn case(&mut self, what: &'static str, cases: u32) -> Result<u32, DecodeError> {
        let case = self.u32()?;
        if case < cases {
            Ok(case)
        } else {
            Err(DecodeError::InvalidCase { what, case, cases })
        }
    }

    /// Reads the count of a list whose items take at least `min_item` bytes each.
    ///
    /// The count is checked against the limit, and against the bytes that are there, so that the
    /// caller may reserve room for the items. Items without any bytes (`min_item` 0) are bounded
    /// by the limit of 65,536, since nothing else bounds them.
    ///
    /// # Errors
    ///
    /// [`DecodeError::TooLong`] above the limit, [`DecodeError::Incomplete`] when the items
    /// cannot all be there yet.
    pub fn count(&mut self, min_item: usize) -> Result<usize, DecodeError> {
        let len = self.uleb(32)?;
        let limit = if min_item == 0 {
            self.limit.min(65_536)
        } else {
            self.limit
        };
        if len > limit {
            return Err(DecodeError::TooLong { len, limit });
        }
        let least = (len as usize).saturating_mul(min_item);
        let left = self.remaining();
        if least > left {
            return Err(DecodeError::Incomplete {
                needed: least - left,
            });
        }
        Ok(len as usize)
    }

    /// Reads a `list<u8>`, or a resource handle, as a slice of the buffer.
    ///
    /// # Errors
    ///
    /// As [`Reader::count`].
    pub fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let n = self.count(1)?;
        self.take(n)
    }

    /// Reads a `string`.
    ///
    /// # Errors
    ///
    /// As [`Reader::count`], and [`DecodeError::InvalidText`].
    pub fn string(&mut self) -> Result<String, DecodeError> {
        let raw = self.bytes()?;
        match std::str::from_utf8(&raw) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(DecodeError::InvalidText),
        }
    }

    /// Reads a `char`.
    ///
    /// # Errors
    ///
    /// [`DecodeError::InvalidText`] when the bytes are not one Unicode scalar value.
    pub fn char(&mut self) -> Result<char, DecodeError> {
        let first = *self
            .buf
            .get(self.pos)
            .ok_or(DecodeError::Incomplete { needed: 1 })?;
        let len = match first {
            0x00..=0x7f => 1,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return Err(DecodeError::InvalidText),
        };
        let raw = self.take(len)?;
        std::str::from_utf8(&raw)
            .ok()
            .and_then(|text| text.chars().next())
            .ok_or(DecodeError::InvalidText)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;
    use crate::write;

    fn written(f: impl FnOnce(&mut BytesMut)) -> Reader {
        let mut out = BytesMut::new();
        f(&mut out);
        Reader::new(out.freeze())
    }

    proptest! {
        #[test]
        fn numbers_survive(u in any::<u64>(), s in any::<i64>(), f in any::<f64>(), c in any::<char>()) {
            prop_assert_eq!(written(|o| write::uleb(o, u)).u64(), Ok(u));
            prop_assert_eq!(written(|o| write::sleb(o, s)).sleb(64), Ok(s));
            prop_assert_eq!(written(|o| write::char(o, c)).char(), Ok(c));
            let back = written(|o| write::f64(o, f)).f64().unwrap();
            prop_assert!(back == f || (f.is_nan() && back.is_nan()));
        }

        #[test]
        fn narrow_numbers_are_checked(u in any::<u64>(), s in any::<i64>()) {
            prop_assert_eq!(written(|o| write::uleb(o, u)).u16().is_ok(), u <= u64::from(u16::MAX));
            prop_assert_eq!(
                written(|o| write::sleb(o, s)).sleb(16).is_ok(),
                i16::try_from(s).is_ok()
            );
        }

        #[test]
        fn text_survives(s in ".*", b in any::<Vec<u8>>()) {
            prop_assert_eq!(written(|o| write::string(o, &s)).string(), Ok(s));
            prop_assert_eq!(written(|o| write::bytes(o, &b)).bytes(), Ok(Bytes::from(b)));
        }

        #[test]
        fn foreign_bytes_never_panic(b in any::<Vec<u8>>(), bits in 1u32..=64) {
            let r = Reader::new(b.into());
            let _ = r.clone().uleb(bits);
            let _ = r.clone().sleb(bits);
            let _ = r.clone().string();
            let _ = r.clone().char();
            let _ = r.clone().count(3);
        }
    }

    #[test]
    fn a_count_beyond_the_bytes_is_incomplete() {
        let mut r = Reader::new(Bytes::from_static(&[0x80, 0x80, 0x40, 1, 2]));
        assert_eq!(
            r.bytes(),
            Err(DecodeError::Incomplete {
                needed: (1 << 20) - 2
            })
        );
    }

    #[test]
    fn a_count_beyond_the_limit_is_refused() {
        let mut r = Reader::new(Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f]));
        let too_long = |len, limit| DecodeError::TooLong { len, limit };
        assert_eq!(
            r.bytes(),
            Err(too_long(u32::MAX.into(), Reader::DEFAULT_LIMIT))
        );
        let mut r = Reader::new(Bytes::from_static(&[0x80, 0x80, 0x40]));
        assert_eq!(r.count(0), Err(too_long(1 << 20, 65_536)));
    }
}
