//! Doors for the fuzz targets to what is private here. They are no part of the interface: they
//! change with what is behind them.

use bytes::Bytes;

use crate::codec::{Names, NoHandles, Plan, Shape, decode_list, encode_list};

/// How deep types are made.
const DEEPEST: usize = 6;

/// Reads values of types that bytes choose; those that are read are written and read again.
pub fn values(types: &[u8], bytes: Bytes) {
    let mut kinds = types.iter().copied();
    let shape = Shape::new([plan(&mut kinds, DEEPEST), plan(&mut kinds, DEEPEST)]);
    let complete = shape.complete(&bytes);
    let decoded = decode_list(&shape, bytes.clone(), &mut NoHandles);
    assert_eq!(complete == Ok(Some(bytes.len())), decoded.is_ok());
    if let Ok(values) = decoded {
        let written =
            encode_list(&shape, &values, &mut NoHandles).expect("what was read is written");
        let again = decode_list(&shape, written.clone(), &mut NoHandles);
        let again = again.expect("what was written is read");
        // Of numbers that are none there are many.
        assert_eq!(encode_list(&shape, &again, &mut NoHandles), Ok(written));
    }
}

fn plan(kinds: &mut impl Iterator<Item = u8>, deep: usize) -> Plan {
    let kind = kinds.next().unwrap_or_default();
    let mut inner = || plan(kinds, deep - 1);
    match kind % 24 {
        0..16 if deep == 0 => Plan::U8,
        0 => Plan::list(inner()),
        1 => Plan::Record([("a".to_owned(), inner()), ("b".to_owned(), inner())].into()),
        2 => Plan::Tuple([inner(), inner()].into()),
        3 => Plan::Tuple([].into()),
        4 => Plan::Variant {
            names: Names::new(["a", "b", "c"]),
            cases: [Some(inner()), None, Some(inner())].into(),
        },
        5 => Plan::Option(inner().into()),
        6 => Plan::result(Some(inner()), None),
        7 => Plan::result(None, Some(inner())),
        8 => Plan::list(Plan::Tuple([].into())),
        9..16 => Plan::Bytes,
        16 => Plan::Enum(Names::new((0..200).map(|at| at.to_string()))),
        17 => Plan::Flags(Names::new((0..40).map(|at| at.to_string()))),
        18 => Plan::Char,
        19 => Plan::String,
        20 => Plan::S64,
        21 => Plan::U16,
        22 => Plan::F32,
        _ => Plan::Bool,
    }
}
