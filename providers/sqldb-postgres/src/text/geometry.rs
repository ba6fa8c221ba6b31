//! Points, and what is made of them.

use lattice_postgres::tokio_postgres::types::Type;

use super::scalars::float;
use crate::binary::{Reader, Unreadable};

/// A value of a geometric type; `None` for one of another.
pub(super) fn text(ty: &Type, raw: &[u8]) -> Result<Option<String>, Unreadable> {
    Ok(Some(match *ty {
        Type::POINT => point(&mut Reader::new("point", raw))?,
        // The upper right corner comes first.
        Type::BOX => points(Reader::new("box", raw), 2)?,
        Type::LSEG => format!("[{}]", points(Reader::new("lseg", raw), 2)?),
        Type::LINE => {
            let mut reader = Reader::new("line", raw);
            let mut next = || Ok::<_, Unreadable>(float(reader.f64()?));
            format!("{{{},{},{}}}", next()?, next()?, next()?)
        }
        Type::CIRCLE => {
            let mut reader = Reader::new("circle", raw);
            format!("<{},{}>", point(&mut reader)?, float(reader.f64()?))
        }
        Type::PATH => {
            let mut reader = Reader::new("path", raw);
            let is_closed = reader.u8()? != 0;
            let count = reader.count()?;
            let points = points(reader, count)?;
            match is_closed {
                true => format!("({points})"),
                false => format!("[{points}]"),
            }
        }
        Type::POLYGON => {
            let mut reader = Reader::new("polygon", raw);
            let count = reader.count()?;
            format!("({})", points(reader, count)?)
        }
        _ => return Ok(None),
    }))
}

fn point(reader: &mut Reader<'_>) -> Result<String, Unreadable> {
    Ok(format!(
        "({},{})",
        float(reader.f64()?),
        float(reader.f64()?)
    ))
}

fn points(mut reader: Reader<'_>, count: usize) -> Result<String, Unreadable> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(point(&mut reader)?);
    }
    Ok(all.join(","))
}
