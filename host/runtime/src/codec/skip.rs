//! Walking over a value without building it.

use lattice_codec::{DecodeError, Reader};

use super::CodecError;
use super::plan::{Names, Plan};

/// How many bytes of a name count as one part.
const NAME_BYTES: usize = 32;

/// Takes one part from what is left.
pub(super) fn charge(parts: &mut usize, n: usize) -> Result<(), CodecError> {
    *parts = parts.checked_sub(n).ok_or(CodecError::TooManyParts {
        limit: super::MAX_PARTS,
    })?;
    Ok(())
}

/// Takes what a name is beside the part that has it. It does not stand on the wire, and each value
/// holds a copy of it.
pub(super) fn charge_name(parts: &mut usize, name: &str) -> Result<(), CodecError> {
    charge(parts, name.len() / NAME_BYTES)
}

/// Takes what the flags are that are set in `raw`: each one is a text of its own.
pub(super) fn charge_flags(parts: &mut usize, names: &Names, raw: &[u8]) -> Result<(), CodecError> {
    names.set_in(raw).try_for_each(|name| {
        charge(parts, 1)?;
        charge_name(parts, name)
    })
}

/// Moves `reader` behind a value of the planned type. With `ALL` each byte of a `list<u8>` is a part, as
/// it is in a value; not all who read such a list make a value of it.
pub(super) fn skip<const ALL: bool>(
    plan: &Plan,
    r: &mut Reader,
    parts: &mut usize,
) -> Result<(), CodecError> {
    charge(parts, 1)?;
    match plan {
        Plan::Bool => drop(r.bool()?),
        Plan::U8 | Plan::S8 => drop(r.u8()?),
        Plan::U16 => drop(r.uleb(16)?),
        Plan::U32 => drop(r.uleb(32)?),
        Plan::U64 => drop(r.uleb(64)?),
        Plan::S16 => drop(r.sleb(16)?),
        Plan::S32 => drop(r.sleb(32)?),
        Plan::S64 => drop(r.sleb(64)?),
        Plan::F32 => drop(r.take(4)?),
        Plan::F64 => drop(r.take(8)?),
        Plan::Char => drop(r.char()?),
        Plan::String => text(r)?,
        Plan::Bytes if ALL => charge(parts, r.bytes()?.len())?,
        Plan::Bytes | Plan::Handle => drop(r.bytes()?),
        Plan::Flags(names) => charge_flags(parts, names, &r.take(names.len().div_ceil(8))?)?,
        Plan::Enum(names) => {
            let case = r.case("enum", names.len() as u32)?;
            charge_case(parts, names, case)?;
        }
        _ => compound::<ALL>(plan, r, parts)?,
    }
    Ok(())
}

fn charge_case(parts: &mut usize, names: &Names, case: u32) -> Result<(), CodecError> {
    let name = names.get(case as usize).unwrap_or_default();
    charge_name(parts, name)
}

/// Moves `r` behind a text, which is looked at as when it is read.
fn text(r: &mut Reader) -> Result<(), DecodeError> {
    let raw = r.bytes()?;
    match std::str::from_utf8(&raw) {
        Ok(_) => Ok(()),
        Err(_) => Err(DecodeError::InvalidText),
    }
}

fn compound<const ALL: bool>(
    plan: &Plan,
    r: &mut Reader,
    parts: &mut usize,
) -> Result<(), CodecError> {
    match plan {
        Plan::List { item, min } => {
            for _ in 0..r.count(*min)? {
                skip::<ALL>(item, r, parts)?;
            }
            Ok(())
        }
        Plan::Record(fields) => fields.iter().try_for_each(|(name, plan)| {
            charge_name(parts, name)?;
            skip::<ALL>(plan, r, parts)
        }),
        Plan::Tuple(items) => items
            .iter()
            .try_for_each(|plan| skip::<ALL>(plan, r, parts)),
        Plan::Variant { names, cases } => {
            let case = r.case("variant", cases.len() as u32)?;
            charge_case(parts, names, case)?;
            optional::<ALL>(cases[case as usize].as_ref(), r, parts)
        }
        Plan::Option(some) => {
            // The closure form of `Reader::option` would force the two error types together.
            match r.u8()? {
                0 => Ok(()),
                1 => skip::<ALL>(some, r, parts),
                byte => Err(DecodeError::InvalidTag {
                    what: "option",
                    byte,
                }
                .into()),
            }
        }
        Plan::Result { ok, err } => {
            let side = if r.result_is_err()? { err } else { ok };
            optional::<ALL>(side.as_deref(), r, parts)
        }
        _ => Ok(()),
    }
}

fn optional<const ALL: bool>(
    plan: Option<&Plan>,
    r: &mut Reader,
    parts: &mut usize,
) -> Result<(), CodecError> {
    plan.map_or(Ok(()), |plan| skip::<ALL>(plan, r, parts))
}
