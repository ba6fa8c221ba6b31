//! `fields`: `list<tuple<string, list<list<u8>>>>`.

use bytes::BytesMut;
use http::header::COOKIE;
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

/// Joins the fields into which HTTP/2 may split a cookie: HTTP/1.1 and most programs know one field
/// only (RFC 9113, section 8.2.3).
pub fn join_cookies(fields: &mut HeaderMap) {
    let crumbs = fields.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let crumbs: Vec<&[u8]> = crumbs.collect();
    if crumbs.len() < 2 {
        return;
    }
    // What may stand in each of them may stand in all.
    let whole = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]));
    if let Ok(whole) = whole {
        fields.insert(COOKIE, whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crumbs_of_a_cookie_become_one_field() {
        for (crumbs, whole) in [
            (&["a=1", "session=x", "b=2"][..], "a=1; session=x; b=2"),
            (&["a=1; b=2"][..], "a=1; b=2"),
        ] {
            let mut fields = HeaderMap::new();
            for crumb in crumbs {
                fields.append(COOKIE, HeaderValue::from_str(crumb).unwrap());
            }
            join_cookies(&mut fields);
            let joined: Vec<_> = fields.get_all(COOKIE).iter().collect();
            assert_eq!(joined, [whole]);
        }
        let mut none = HeaderMap::new();
        join_cookies(&mut none);
        assert!(none.is_empty());
    }
}
