//! The parameters and results of `wrpc:keyvalue@0.2.0-draft` as they cross the wire (protocol
//! page, 9.1).

use bytes::{BufMut as _, Bytes, BytesMut};
use lattice_codec::{DecodeError, Reader, write};

use super::{Entry, KeyValueError, KeysPage};

/// A value that stands alone in the `ok` case of a result.
pub(super) trait Encode {
    fn encode(self, out: &mut BytesMut);
}

impl Encode for () {
    fn encode(self, _out: &mut BytesMut) {}
}

impl Encode for bool {
    fn encode(self, out: &mut BytesMut) {
        write::bool(out, self);
    }
}

impl Encode for u64 {
    fn encode(self, out: &mut BytesMut) {
        write::uleb(out, self);
    }
}

impl Encode for Option<Bytes> {
    fn encode(self, out: &mut BytesMut) {
        write::option(out, self, |out, value| write::bytes(out, &value));
    }
}

impl Encode for KeysPage {
    fn encode(self, out: &mut BytesMut) {
        write::uleb(out, self.keys.len() as u64);
        for key in &self.keys {
            write::string(out, key);
        }
        write::option(out, self.cursor, write::uleb);
    }
}

impl Encode for Vec<Option<Entry>> {
    fn encode(self, out: &mut BytesMut) {
        write::uleb(out, self.len() as u64);
        for entry in self {
            write::option(out, entry, |out, (key, value)| {
                write::string(out, &key);
                write::bytes(out, &value);
            });
        }
    }
}

/// A result, as the only result of a function.
pub(super) fn encode_result<T: Encode>(result: Result<T, KeyValueError>) -> Bytes {
    let mut out = BytesMut::new();
    match result {
        Ok(value) => {
            out.put_u8(0);
            value.encode(&mut out);
        }
        Err(error) => {
            out.put_u8(1);
            encode_error(&error, &mut out);
        }
    }
    out.freeze()
}

fn encode_error(error: &KeyValueError, out: &mut BytesMut) {
    match error {
        KeyValueError::NoSuchStore => out.put_u8(0),
        KeyValueError::AccessDenied => out.put_u8(1),
        KeyValueError::Other(text) => {
            out.put_u8(2);
            write::string(out, text);
        }
    }
}

pub(super) fn bucket_and_key(r: &mut Reader) -> Result<(String, String), DecodeError> {
    Ok((r.string()?, r.string()?))
}

pub(super) fn bucket_key_and_value(r: &mut Reader) -> Result<(String, String, Bytes), DecodeError> {
    Ok((r.string()?, r.string()?, r.bytes()?))
}

pub(super) fn bucket_and_cursor(r: &mut Reader) -> Result<(String, Option<u64>), DecodeError> {
    Ok((r.string()?, r.option(Reader::u64)?))
}

pub(super) fn bucket_key_and_delta(r: &mut Reader) -> Result<(String, String, u64), DecodeError> {
    Ok((r.string()?, r.string()?, r.u64()?))
}

pub(super) fn bucket_and_keys(r: &mut Reader) -> Result<(String, Vec<String>), DecodeError> {
    Ok((r.string()?, list(r, 1, Reader::string)?))
}

pub(super) fn bucket_and_entries(r: &mut Reader) -> Result<(String, Vec<Entry>), DecodeError> {
    let bucket = r.string()?;
    let entries = list(r, 2, |r| Ok((r.string()?, r.bytes()?)))?;
    Ok((bucket, entries))
}

/// Reads a list whose items take at least `min` bytes each.
fn list<T>(
    r: &mut Reader,
    min: usize,
    mut item: impl FnMut(&mut Reader) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = r.count(min)?;
    // The count is the sender's word; room is made for what has really arrived.
    let mut items = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        items.push(item(r)?);
    }
    Ok(items)
}
