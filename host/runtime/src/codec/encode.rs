//! From values to bytes, in one pass.

use bytes::{BufMut, Bytes, BytesMut};
use lattice_codec::write;
use wasmtime::component::{ResourceAny, Val};

use super::CodecError;
use super::plan::{Names, Plan};

/// Turns resource handles into the opaque bytes that stand for them on the wire, and back.
pub(crate) trait Handles {
    /// The bytes for a handle that the guest passes.
    fn to_wire(&mut self, handle: ResourceAny) -> Result<Bytes, CodecError>;

    /// A handle for bytes that a peer sent.
    fn adopt(&mut self, bytes: Bytes) -> Result<ResourceAny, CodecError>;
}

/// For function types without resources.
pub(crate) struct NoHandles;

impl Handles for NoHandles {
    fn to_wire(&mut self, _: ResourceAny) -> Result<Bytes, CodecError> {
        Err(CodecError::Handle(
            "the function has no resources".to_owned(),
        ))
    }

    fn adopt(&mut self, _: Bytes) -> Result<ResourceAny, CodecError> {
        Err(CodecError::Handle(
            "the function has no resources".to_owned(),
        ))
    }
}

fn mismatch(plan: &Plan, found: &Val) -> CodecError {
    let found = match found {
        Val::Variant(case, _) | Val::Enum(case) => format!("case `{case}`"),
        Val::List(items) => format!("a list of {} items", items.len()),
        Val::Record(_) => "a record".to_owned(),
        Val::String(_) => "a string".to_owned(),
        other => format!("{:?}", std::mem::discriminant(other)),
    };
    CodecError::Mismatch {
        expected: plan.name(),
        found,
    }
}

/// Appends a value.
pub(crate) fn encode(
    plan: &Plan,
    value: &Val,
    out: &mut BytesMut,
    handles: &mut dyn Handles,
) -> Result<(), CodecError> {
    match (plan, value) {
        (Plan::Bool, Val::Bool(v)) => write::bool(out, *v),
        (Plan::U8, Val::U8(v)) => out.put_u8(*v),
        (Plan::S8, Val::S8(v)) => out.put_i8(*v),
        (Plan::U16, Val::U16(v)) => write::uleb(out, (*v).into()),
        (Plan::U32, Val::U32(v)) => write::uleb(out, (*v).into()),
        (Plan::U64, Val::U64(v)) => write::uleb(out, *v),
        (Plan::S16, Val::S16(v)) => write::sleb(out, (*v).into()),
        (Plan::S32, Val::S32(v)) => write::sleb(out, (*v).into()),
        (Plan::S64, Val::S64(v)) => write::sleb(out, *v),
        (Plan::F32, Val::Float32(v)) => write::f32(out, *v),
        (Plan::F64, Val::Float64(v)) => write::f64(out, *v),
        (Plan::Char, Val::Char(v)) => write::char(out, *v),
        (Plan::String, Val::String(v)) => write::string(out, v),
        (Plan::Bytes, Val::List(items)) => return byte_list(items, out),
        (Plan::Flags(names), Val::Flags(set)) => return flags(plan, names, set, out),
        (Plan::Enum(names), Val::Enum(case)) => {
            let case = names.position(case).ok_or_else(|| mismatch(plan, value))?;
            write::uleb(out, case as u64);
        }
        (Plan::Handle, Val::Resource(handle)) => write::bytes(out, &handles.to_wire(*handle)?),
        _ => return compound(plan, value, out, handles),
    }
    Ok(())
}

fn compound(
    plan: &Plan,
    value: &Val,
    out: &mut BytesMut,
    handles: &mut dyn Handles,
) -> Result<(), CodecError> {
    match (plan, value) {
        (Plan::List { item, min }, Val::List(values)) => {
            out.reserve(values.len().saturating_mul(*min) + 5);
            write::uleb(out, values.len() as u64);
            values
                .iter()
                .try_for_each(|value| encode(item, value, out, handles))
        }
        (Plan::Record(fields), Val::Record(values)) if fields.len() == values.len() => fields
            .iter()
            .zip(values)
            .try_for_each(|((_, plan), (_, value))| encode(plan, value, out, handles)),
        (Plan::Tuple(plans), Val::Tuple(values)) if plans.len() == values.len() => plans
            .iter()
            .zip(values)
            .try_for_each(|(plan, value)| encode(plan, value, out, handles)),
        (Plan::Variant { names, cases }, Val::Variant(case, payload)) => {
            let case = names.position(case).ok_or_else(|| mismatch(plan, value))?;
            write::uleb(out, case as u64);
            optional(plan, cases[case].as_ref(), payload.as_deref(), out, handles)
        }
        (Plan::Option(some), Val::Option(payload)) => {
            write::bool(out, payload.is_some());
            match payload {
                Some(value) => encode(some, value, out, handles),
                None => Ok(()),
            }
        }
        (Plan::Result { ok, err }, Val::Result(result)) => {
            write::bool(out, result.is_err());
            let (side, payload) = match result {
                Ok(payload) => (ok, payload),
                Err(payload) => (err, payload),
            };
            optional(plan, side.as_deref(), payload.as_deref(), out, handles)
        }
        _ => Err(mismatch(plan, value)),
    }
}

fn optional(
    plan: &Plan,
    payload_plan: Option<&Plan>,
    payload: Option<&Val>,
    out: &mut BytesMut,
    handles: &mut dyn Handles,
) -> Result<(), CodecError> {
    match (payload_plan, payload) {
        (None, None) => Ok(()),
        (Some(plan), Some(value)) => encode(plan, value, out, handles),
        (Some(_), None) => Err(CodecError::Mismatch {
            expected: plan.name(),
            found: "a case without its value".to_owned(),
        }),
        (None, Some(value)) => Err(mismatch(plan, value)),
    }
}

fn byte_list(items: &[Val], out: &mut BytesMut) -> Result<(), CodecError> {
    out.reserve(items.len() + 5);
    write::uleb(out, items.len() as u64);
    for item in items {
        match item {
            Val::U8(byte) => out.put_u8(*byte),
            other => return Err(mismatch(&Plan::U8, other)),
        }
    }
    Ok(())
}

fn flags(plan: &Plan, names: &Names, set: &[String], out: &mut BytesMut) -> Result<(), CodecError> {
    let start = out.len();
    out.put_bytes(0, names.len().div_ceil(8));
    for name in set {
        let flag = names.position(name).ok_or_else(|| CodecError::Mismatch {
            expected: plan.name(),
            found: format!("flag `{name}`"),
        })?;
        out[start + flag / 8] |= 1 << (flag % 8);
    }
    Ok(())
}
