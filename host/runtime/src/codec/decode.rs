//! From bytes to values. Nothing is allocated before the bytes for it are known to be there.

use lattice_codec::{DecodeError, Reader};
use wasmtime::component::Val;

use super::CodecError;
use super::encode::Handles;
use super::plan::{Names, Plan};
use super::skip::{charge, charge_flags, charge_name};

/// Reads one value; `parts` bounds how many parts it may have.
pub(super) fn decode(
    plan: &Plan,
    r: &mut Reader,
    parts: &mut usize,
    handles: &mut dyn Handles,
) -> Result<Val, CodecError> {
    charge(parts, 1)?;
    Ok(match plan {
        Plan::Bool => Val::Bool(r.bool()?),
        Plan::U8 => Val::U8(r.u8()?),
        Plan::S8 => Val::S8(r.u8()? as i8),
        Plan::U16 => Val::U16(r.u16()?),
        Plan::U32 => Val::U32(r.u32()?),
        Plan::U64 => Val::U64(r.u64()?),
        Plan::S16 => Val::S16(r.sleb(16)? as i16),
        Plan::S32 => Val::S32(r.sleb(32)? as i32),
        Plan::S64 => Val::S64(r.sleb(64)?),
        Plan::F32 => Val::Float32(r.f32()?),
        Plan::F64 => Val::Float64(r.f64()?),
        Plan::Char => Val::Char(r.char()?),
        Plan::String => Val::String(r.string()?),
        Plan::Bytes => {
            let raw = r.bytes()?;
            charge(parts, raw.len())?;
            Val::List(raw.iter().map(|byte| Val::U8(*byte)).collect())
        }
        Plan::Enum(names) => {
            let case = r.case("enum", names.len() as u32)?;
            Val::Enum(name(names, case, parts)?)
        }
        Plan::Flags(names) => flags(names, r, parts)?,
        Plan::Handle => Val::Resource(handles.adopt(r.bytes()?)?),
        _ => compound(plan, r, parts, handles)?,
    })
}

fn compound(
    plan: &Plan,
    r: &mut Reader,
    parts: &mut usize,
    handles: &mut dyn Handles,
) -> Result<Val, CodecError> {
    Ok(match plan {
        Plan::List { item, min } => {
            let count = r.count(*min)?;
            // Refused here and not item by item, so that nothing is reserved for it.
            if count > *parts {
                charge(parts, count)?;
            }
            let mut items = Vec::with_capacity(count);
            for _ in 0..count {
                items.push(decode(item, r, parts, handles)?);
            }
            Val::List(items)
        }
        Plan::Record(fields) => record(fields, r, parts, handles)?,
        Plan::Tuple(plans) => {
            // Of just the size: what is collected of results has room for four at least.
            let mut values = Vec::with_capacity(plans.len());
            for plan in plans.iter() {
                values.push(decode(plan, r, parts, handles)?);
            }
            Val::Tuple(values)
        }
        Plan::Variant { names, cases } => {
            let case = r.case("variant", names.len() as u32)?;
            let name = name(names, case, parts)?;
            let payload = optional(cases[case as usize].as_ref(), r, parts, handles)?;
            Val::Variant(name, payload)
        }
        Plan::Option(some) => match r.u8()? {
            0 => Val::Option(None),
            1 => Val::Option(Some(Box::new(decode(some, r, parts, handles)?))),
            byte => {
                return Err(DecodeError::InvalidTag {
                    what: "option",
                    byte,
                }
                .into());
            }
        },
        Plan::Result { ok, err } => Val::Result(if r.result_is_err()? {
            Err(optional(err.as_deref(), r, parts, handles)?)
        } else {
            Ok(optional(ok.as_deref(), r, parts, handles)?)
        }),
        other => {
            return Err(CodecError::Mismatch {
                expected: "a compound type",
                found: other.name().to_owned(),
            });
        }
    })
}

fn record(
    fields: &[(String, Plan)],
    r: &mut Reader,
    parts: &mut usize,
    handles: &mut dyn Handles,
) -> Result<Val, CodecError> {
    let mut values = Vec::with_capacity(fields.len());
    for (name, plan) in fields {
        charge_name(parts, name)?;
        values.push((name.clone(), decode(plan, r, parts, handles)?));
    }
    Ok(Val::Record(values))
}

fn optional(
    plan: Option<&Plan>,
    r: &mut Reader,
    parts: &mut usize,
    handles: &mut dyn Handles,
) -> Result<Option<Box<Val>>, CodecError> {
    plan.map(|plan| decode(plan, r, parts, handles).map(Box::new))
        .transpose()
}

fn name(names: &Names, case: u32, parts: &mut usize) -> Result<String, CodecError> {
    // `Reader::case` has checked the number already.
    let name = names
        .get(case as usize)
        .ok_or(CodecError::Decode(DecodeError::InvalidCase {
            what: "enum",
            case,
            cases: names.len() as u32,
        }))?;
    charge_name(parts, name)?;
    Ok(name.to_owned())
}

fn flags(names: &Names, r: &mut Reader, parts: &mut usize) -> Result<Val, CodecError> {
    let raw = r.take(names.len().div_ceil(8))?;
    charge_flags(parts, names, &raw)?;
    let mut set = Vec::with_capacity(names.set_in(&raw).count());
    set.extend(names.set_in(&raw).map(str::to_owned));
    Ok(Val::Flags(set))
}
