//! `fields`: `list<tuple<string, list<list<u8>>>>`.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{DecodeError, Reader, write};

/// Appends header or trailer fields, the values of one name together and in order.
pub fn encode_fields(out: &mut BytesMut, fields: &HeaderMap) {
    write::uleb(out, fields.keys_len() as u64);
    for name in fields.keys() {
        write::string(out, name.as_str());
        let values = fields.get_all(name);
        write::uleb(out, values.iter().count() as u64);
        for value in values {
            write::bytes(out, value.as_bytes());
        }
    }
}

/// Reads header or trailer fields.
///
/// # Errors
///
/// [`DecodeError::InvalidField`] for a name or value that HTTP does not allow, or for more
/// fields than a header map holds; otherwise as [`Reader`].
pub fn decode_fields(r: &mut Reader) -> Result<HeaderMap, DecodeError> {
    let names = r.count(2)?;
    let mut fields = HeaderMap::with_capacity(names.min(64));
    for _ in 0..names {
        let name = r.bytes()?;
        let name = HeaderName::from_bytes(&name).map_err(|_| DecodeError::InvalidField {
            field: "header name",
        })?;
        for _ in 0..r.count(1)? {
            let value = HeaderValue::from_maybe_shared(r.bytes()?).map_err(|_| {
                DecodeError::InvalidField {
                    field: "header value",
                }
            })?;
            fields
                .try_append(name.clone(), value)
                .map_err(|_| DecodeError::InvalidField {
                    field: "header section",
                })?;
        }
    }
    Ok(fields)
}
