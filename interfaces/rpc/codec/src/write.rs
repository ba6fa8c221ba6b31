//! Writing values: each function appends one value to a buffer.

use bytes::{BufMut, BytesMut};

/// Appends an unsigned LEB128 number (`u16`, `u32`, `u64`, counts and case numbers).
pub fn uleb(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value as u8) | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Appends a signed LEB128 number (`s16`, `s32`, `s64`).
pub fn sleb(out: &mut BytesMut, mut value: i64) {
    loop {
        let byte = (value as u8) & 0x7f;
        value >>= 7;
        let sign = byte & 0x40 != 0;
        if (value == 0 && !sign) || (value == -1 && sign) {
            out.put_u8(byte);
            return;
        }
        out.put_u8(byte | 0x80);
    }
}

/// Appends a boolean.
pub fn bool(out: &mut BytesMut, value: bool) {
    out.put_u8(value.into());
}

/// Appends a `string`: byte count, then UTF-8.
pub fn string(out: &mut BytesMut, value: &str) {
    bytes(out, value.as_bytes());
}

/// Appends a `list<u8>`: count, then the raw bytes. Resource handles are written the same way.
pub fn bytes(out: &mut BytesMut, value: &[u8]) {
    out.reserve(value.len() + 5);
    uleb(out, value.len() as u64);
    out.put_slice(value);
}

/// Appends a `char`: its UTF-8 bytes without a count.
pub fn char(out: &mut BytesMut, value: char) {
    out.put_slice(value.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Appends an `f32`. NaN is canonical on the wire, as with newer stock peers.
pub fn f32(out: &mut BytesMut, value: f32) {
    let bits = if value.is_nan() {
        0x7fc0_0000
    } else {
        value.to_bits()
    };
    out.put_u32_le(bits);
}

/// Appends an `f64`. NaN is canonical on the wire, as with newer stock peers.
pub fn f64(out: &mut BytesMut, value: f64) {
    let bits = if value.is_nan() {
        0x7ff8_0000_0000_0000
    } else {
        value.to_bits()
    };
    out.put_u64_le(bits);
}

/// Appends an `option`, writing a present value with `some`.
pub fn option<T>(out: &mut BytesMut, value: Option<T>, some: impl FnOnce(&mut BytesMut, T)) {
    match value {
        None => out.put_u8(0),
        Some(value) => {
            out.put_u8(1);
            some(out, value);
        }
    }
}
