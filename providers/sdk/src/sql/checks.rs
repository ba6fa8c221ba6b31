//! Looks at parameters before generated code decodes them.
//!
//! A list of values claims how many there are, and generated code makes room for that many. Here
//! the whole list is walked first, without keeping anything.

use lattice_codec::{DecodeError, Reader};

/// `query` and `execute`.
pub(super) fn values_are_there(params: &mut Reader) -> Result<(), DecodeError> {
    before_values(params)?;
    skip_values(params)
}

/// `execute-many`.
pub(super) fn rows_are_there(params: &mut Reader) -> Result<(), DecodeError> {
    before_values(params)?;
    for _ in 0..params.count(1)? {
        skip_values(params)?;
    }
    Ok(())
}

/// The database, the transaction and the statement.
fn before_values(params: &mut Reader) -> Result<(), DecodeError> {
    params.string()?;
    params.option(Reader::string)?;
    params.string().map(drop)
}

fn skip_values(params: &mut Reader) -> Result<(), DecodeError> {
    for _ in 0..params.count(1)? {
        skip_value(params)?;
    }
    Ok(())
}

/// The cases of `value`, in the order of the WIT package.
fn skip_value(params: &mut Reader) -> Result<(), DecodeError> {
    match params.case("value", 13)? {
        0 => Ok(()),
        1 => params.bool().map(drop),
        2 => params.sleb(64).map(drop),
        3 => params.f64().map(drop),
        6 => params.bytes().map(drop),
        12 => {
            params.string()?;
            params.string().map(drop)
        }
        _ => params.string().map(drop),
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use lattice_codec::write;

    use super::*;

    fn params(tail: impl FnOnce(&mut BytesMut)) -> Reader {
        let mut out = BytesMut::new();
        write::string(&mut out, "");
        write::option(&mut out, Some("tx"), write::string);
        write::string(&mut out, "SELECT ?");
        tail(&mut out);
        Reader::new(out.freeze())
    }

    #[test]
    fn honest_lists_pass() {
        let mut reader = params(|out| {
            write::uleb(out, 3);
            write::uleb(out, 0);
            write::uleb(out, 2);
            write::sleb(out, -5);
            write::uleb(out, 12);
            write::string(out, "point");
            write::string(out, "(1,2)");
        });
        assert!(values_are_there(&mut reader).is_ok());
    }

    #[test]
    fn a_count_without_values_is_refused() {
        let mut reader = params(|out| write::uleb(out, 200_000_000));
        assert!(values_are_there(&mut reader).is_err());
        let mut reader = params(|out| {
            write::uleb(out, 1);
            write::uleb(out, 200_000_000);
        });
        assert!(rows_are_there(&mut reader).is_err());
    }
}
