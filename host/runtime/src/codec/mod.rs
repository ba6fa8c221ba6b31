//! Values of any type on the wire, driven by a plan that is made once per function type.

mod decode;
mod encode;
mod error;
mod plan;
mod shape;
mod skip;
#[cfg(test)]
mod tests;

pub use error::CodecError;
pub use shape::Shape;

pub(crate) use encode::{Handles, NoHandles};
pub(crate) use plan::{Names, Plan, Planner};

use bytes::{Bytes, BytesMut};
use lattice_codec::Reader;
use wasmtime::component::Val;

/// How many parts one parameter or result list may have. A [`Val`] takes 40 bytes, and one that has
/// a name up to a hundred, so that the values of one call stay below about 400 MiB whatever the bytes
/// say.
pub(crate) const MAX_PARTS: usize = 4 << 20;

/// Encodes a parameter or result list.
pub(crate) fn encode_list(
    shape: &Shape,
    values: &[Val],
    handles: &mut dyn Handles,
) -> Result<Bytes, CodecError> {
    if values.len() != shape.plans().len() {
        return Err(CodecError::Mismatch {
            expected: "a list of parameters",
            found: format!("{} of {}", values.len(), shape.plans().len()),
        });
    }
    let mut out = BytesMut::new();
    for (plan, value) in shape.plans().iter().zip(values) {
        encode::encode(plan, value, &mut out, handles)?;
    }
    Ok(out.freeze())
}

/// Counts the parts that the values of a parameter list have, without making them. What is wrong with
/// the bytes is found as by [`decode_list`].
pub(crate) fn count_parts(shape: &Shape, bytes: &Bytes) -> Result<u32, CodecError> {
    let mut reader = Reader::new(bytes.clone());
    let mut parts = MAX_PARTS;
    for plan in shape.plans() {
        skip::skip::<true>(plan, &mut reader, &mut parts)?;
    }
    reader.finish()?;
    Ok((MAX_PARTS - parts) as u32)
}

/// Decodes a parameter or result list; bytes that are left over are refused.
pub(crate) fn decode_list(
    shape: &Shape,
    bytes: Bytes,
    handles: &mut dyn Handles,
) -> Result<Vec<Val>, CodecError> {
    let mut reader = Reader::new(bytes);
    let mut parts = MAX_PARTS;
    let values = shape
        .plans()
        .iter()
        .map(|plan| decode::decode(plan, &mut reader, &mut parts, handles))
        .collect::<Result<_, _>>()?;
    reader.finish()?;
    Ok(values)
}
