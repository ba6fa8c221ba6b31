//! Values survive the wire, and foreign bytes do no harm.

use bytes::{Bytes, BytesMut};
use lattice_codec::{DecodeError, write};
use proptest::prelude::*;
use wasmtime::Engine;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component as Code, Val};

use super::*;
use crate::dynamic::{Resources, signature};

/// A type, before it becomes a plan.
#[derive(Debug, Clone)]
enum Ty {
    Bool,
    U8,
    S16,
    U32,
    S64,
    F64,
    Char,
    String,
    Bytes,
    List(Box<Ty>),
    Record(Vec<Ty>),
    Tuple(Vec<Ty>),
    Variant(Vec<Option<Ty>>),
    Enum(usize),
    Option(Box<Ty>),
    Result(Option<Box<Ty>>, Option<Box<Ty>>),
    Flags(usize),
}

fn label(i: usize) -> String {
    format!("name-{i}")
}

fn plan(ty: &Ty) -> Plan {
    let boxed = |ty: &Option<Box<Ty>>| ty.as_deref().map(plan);
    match ty {
        Ty::Bool => Plan::Bool,
        Ty::U8 => Plan::U8,
        Ty::S16 => Plan::S16,
        Ty::U32 => Plan::U32,
        Ty::S64 => Plan::S64,
        Ty::F64 => Plan::F64,
        Ty::Char => Plan::Char,
        Ty::String => Plan::String,
        Ty::Bytes => Plan::Bytes,
        Ty::List(item) => Plan::list(plan(item)),
        Ty::Record(fields) => Plan::Record(
            fields
                .iter()
                .enumerate()
                .map(|(i, ty)| (label(i), plan(ty)))
                .collect(),
        ),
        Ty::Tuple(items) => Plan::Tuple(items.iter().map(plan).collect()),
        Ty::Variant(cases) => Plan::Variant {
            names: Names::new((0..cases.len()).map(label)),
            cases: cases.iter().map(|case| case.as_ref().map(plan)).collect(),
        },
        Ty::Enum(cases) => Plan::Enum(Names::new((0..*cases).map(label))),
        Ty::Option(some) => Plan::Option(Box::new(plan(some))),
        Ty::Result(ok, err) => Plan::result(boxed(ok), boxed(err)),
        Ty::Flags(flags) => Plan::Flags(Names::new((0..*flags).map(label))),
    }
}

fn types() -> impl Strategy<Value = Ty> {
    let leaf = prop_oneof![
        Just(Ty::Bool),
        Just(Ty::U8),
        Just(Ty::S16),
        Just(Ty::U32),
        Just(Ty::S64),
        Just(Ty::F64),
        Just(Ty::Char),
        Just(Ty::String),
        Just(Ty::Bytes),
        (1usize..200).prop_map(Ty::Enum),
        (1usize..40).prop_map(Ty::Flags),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        prop_oneof![
            boxed.clone().prop_map(|item| match *item {
                Ty::U8 => Ty::Bytes,
                _ => Ty::List(item),
            }),
            prop::collection::vec(inner.clone(), 1..5).prop_map(Ty::Record),
            prop::collection::vec(inner.clone(), 1..5).prop_map(Ty::Tuple),
            prop::collection::vec(prop::option::of(inner), 1..30).prop_map(Ty::Variant),
            boxed.clone().prop_map(Ty::Option),
            (prop::option::of(boxed.clone()), prop::option::of(boxed))
                .prop_map(|(ok, err)| Ty::Result(ok, err)),
        ]
    })
}

fn values(ty: &Ty) -> BoxedStrategy<Val> {
    let side = |ty: &Option<Box<Ty>>| match ty {
        Some(ty) => values(ty).prop_map(|v| Some(Box::new(v))).boxed(),
        None => Just(None).boxed(),
    };
    match ty {
        Ty::Bool => any::<bool>().prop_map(Val::Bool).boxed(),
        Ty::U8 => any::<u8>().prop_map(Val::U8).boxed(),
        Ty::S16 => any::<i16>().prop_map(Val::S16).boxed(),
        Ty::U32 => any::<u32>().prop_map(Val::U32).boxed(),
        Ty::S64 => any::<i64>().prop_map(Val::S64).boxed(),
        Ty::F64 => any::<f64>().prop_map(Val::Float64).boxed(),
        Ty::Char => any::<char>().prop_map(Val::Char).boxed(),
        Ty::String => ".{0,6}".prop_map(Val::String).boxed(),
        Ty::Bytes => prop::collection::vec(any::<u8>().prop_map(Val::U8), 0..200)
            .prop_map(Val::List)
            .boxed(),
        Ty::List(item) => prop::collection::vec(values(item), 0..4)
            .prop_map(Val::List)
            .boxed(),
        Ty::Record(fields) => fields
            .iter()
            .map(values)
            .collect::<Vec<_>>()
            .prop_map(|v| {
                Val::Record(
                    v.into_iter()
                        .enumerate()
                        .map(|(i, v)| (label(i), v))
                        .collect(),
                )
            })
            .boxed(),
        Ty::Tuple(items) => items
            .iter()
            .map(values)
            .collect::<Vec<_>>()
            .prop_map(Val::Tuple)
            .boxed(),
        Ty::Variant(cases) => {
            let cases: Vec<_> = cases
                .iter()
                .enumerate()
                .map(|(i, case)| {
                    side(&case.clone().map(Box::new))
                        .prop_map(move |payload| Val::Variant(label(i), payload))
                        .boxed()
                })
                .collect();
            prop::strategy::Union::new(cases).boxed()
        }
        Ty::Enum(cases) => (0..*cases).prop_map(|i| Val::Enum(label(i))).boxed(),
        Ty::Option(some) => prop::option::of(values(some).prop_map(Box::new))
            .prop_map(Val::Option)
            .boxed(),
        Ty::Result(ok, err) => prop_oneof![
            side(ok).prop_map(|v| Val::Result(Ok(v))),
            side(err).prop_map(|v| Val::Result(Err(v))),
        ]
        .boxed(),
        Ty::Flags(flags) => prop::collection::vec(any::<bool>(), *flags)
            .prop_map(|set| {
                let set = set.iter().enumerate().filter(|(_, set)| **set);
                Val::Flags(set.map(|(i, _)| label(i)).collect())
            })
            .boxed(),
    }
}

fn typed_values() -> impl Strategy<Value = (Ty, Val)> {
    types().prop_flat_map(|ty| {
        let values = values(&ty);
        (Just(ty), values)
    })
}

proptest! {
    #[test]
    fn values_survive((ty, value) in typed_values()) {
        let shape = Shape::new([plan(&ty)]);
        let bytes = encode_list(&shape, std::slice::from_ref(&value), &mut NoHandles).unwrap();
        prop_assert_eq!(shape.complete(&bytes), Ok(Some(bytes.len())));
        prop_assert_eq!(decode_list(&shape, bytes, &mut NoHandles), Ok(vec![value]));
    }

    #[test]
    fn a_value_is_complete_at_its_last_byte_and_not_before((ty, value) in typed_values()) {
        let shape = Shape::new([plan(&ty)]);
        let bytes = encode_list(&shape, &[value], &mut NoHandles).unwrap();
        for len in 0..bytes.len() {
            prop_assert_eq!(shape.complete(&bytes.slice(..len)), Ok(None));
        }
        let mut longer = BytesMut::from(&bytes[..]);
        longer.extend_from_slice(&[0]);
        prop_assert_eq!(
            decode_list(&shape, longer.freeze(), &mut NoHandles),
            Err(CodecError::Decode(DecodeError::Trailing(1)))
        );
    }

    #[test]
    fn foreign_bytes_are_decoded_or_refused(ty in types(), bytes in any::<Vec<u8>>()) {
        let shape = Shape::new([plan(&ty)]);
        let bytes = Bytes::from(bytes);
        let complete = shape.complete(&bytes);
        let decoded = decode_list(&shape, bytes.clone(), &mut NoHandles);
        // The two walks agree on what is a value.
        prop_assert_eq!(complete == Ok(Some(bytes.len())), decoded.is_ok());
    }
}

#[test]
fn what_is_no_text_is_not_complete_either() {
    let shape = Shape::new([Plan::String]);
    let bytes = Bytes::from_static(&[2, b'a', 0xb9]);
    let refused = CodecError::Decode(DecodeError::InvalidText);
    assert_eq!(shape.complete(&bytes), Err(refused));
    assert!(decode_list(&shape, bytes.clone(), &mut NoHandles).is_err());
    assert_eq!(shape.complete(&bytes.slice(..2)), Ok(None));
}

#[test]
fn a_length_bomb_is_refused_before_anything_is_reserved() {
    let mut bomb = BytesMut::new();
    write::uleb(&mut bomb, u64::from(u32::MAX));
    bomb.resize(26, 1);
    let bomb = bomb.freeze();
    for plan in [
        Plan::list(Plan::U64),
        Plan::list(Plan::String),
        Plan::Bytes,
        Plan::String,
    ] {
        let shape = Shape::new([plan]);
        assert!(decode_list(&shape, bomb.clone(), &mut NoHandles).is_err());
    }
}

#[test]
fn a_list_of_lists_cannot_grow_beyond_the_parts_allowed() {
    let mut bytes = BytesMut::new();
    let count = MAX_PARTS as u64 + 1;
    write::uleb(&mut bytes, count);
    bytes.resize(bytes.len() + count as usize, 0);
    let shape = Shape::new([Plan::list(Plan::Bool)]);
    let refused = Err(CodecError::TooManyParts { limit: MAX_PARTS });
    assert_eq!(decode_list(&shape, bytes.freeze(), &mut NoHandles), refused);
}

#[test]
fn parts_are_counted_as_values_have_them() {
    let shape = Shape::new([Plan::Bytes, Plan::list(Plan::U16), Plan::String]);
    let bytes = Bytes::from_static(b"\x03abc\x02\x01\x02\x04text");
    assert_eq!(count_parts(&shape, &bytes), Ok(8));
    let short = count_parts(&shape, &bytes.slice(..bytes.len() - 1));
    assert!(
        matches!(
            short,
            Err(CodecError::Decode(DecodeError::Incomplete { .. }))
        ),
        "{short:?}"
    );
    let long = Bytes::from([&bytes[..], b"!"].concat());
    let trailing = Err(CodecError::Decode(DecodeError::Trailing(1)));
    assert_eq!(count_parts(&shape, &long), trailing);
    let values = decode_list(&shape, bytes, &mut NoHandles).unwrap();
    let [Val::List(three), Val::List(two), Val::String(_)] = values.as_slice() else {
        panic!("{values:?}")
    };
    assert_eq!(values.len() + three.len() + two.len(), 8);
}

#[test]
fn names_are_looked_up_alike_in_short_and_long_lists() {
    for len in [3, 97] {
        let names = Names::new((0..len).map(label));
        assert!((0..len).all(|i| names.position(&label(i)) == Some(i)));
        assert_eq!(names.position("other"), None);
    }
}

#[test]
fn values_of_another_type_are_refused() {
    let shape = Shape::new([Plan::Record(Box::new([("a".to_owned(), Plan::U8)]))]);
    for value in [
        Val::U8(1),
        Val::Record(vec![]),
        Val::Record(vec![("a".to_owned(), Val::U16(1))]),
    ] {
        let encoded = encode_list(&shape, &[value], &mut NoHandles);
        assert!(matches!(encoded, Err(CodecError::Mismatch { .. })));
    }
}

#[test]
fn a_negative_and_a_large_number_stand_as_the_wire_wants_them() {
    let shape = Shape::new([
        Plan::S32,
        Plan::U32,
        Plan::Flags(Names::new((0..9).map(label))),
    ]);
    let values = [
        Val::S32(-129),
        Val::U32(10_000),
        Val::Flags(vec![label(8), label(0)]),
    ];
    let bytes = encode_list(&shape, &values, &mut NoHandles).unwrap();
    assert_eq!(&bytes[..], [0xff, 0x7e, 0x90, 0x4e, 0x01, 0x01]);
}

#[test]
fn names_count_towards_the_parts_alike_in_both_walks() {
    let long = || "n".repeat(3200);
    for (plan, bytes, takes) in [
        // Itself, and each flag that is set.
        (
            Plan::Flags(Names::new((0..9).map(label))),
            &[0x81, 0x01][..],
            4,
        ),
        (Plan::Flags(Names::new([long()])), &[1][..], 102),
        (Plan::Enum(Names::new([long()])), &[0][..], 101),
        (
            Plan::Record(Box::new([(long(), Plan::U8), (label(1), Plan::U8)])),
            &[7, 7][..],
            103,
        ),
        (
            Plan::Variant {
                names: Names::new([long()]),
                cases: Box::new([Some(Plan::U8)]),
            },
            &[0, 7][..],
            102,
        ),
    ] {
        let reader = || Reader::new(Bytes::copy_from_slice(bytes));
        for (room, fits) in [(takes, true), (takes - 1, false)] {
            let (mut skipped, mut decoded) = (room, room);
            let skip = skip::skip::<false>(&plan, &mut reader(), &mut skipped);
            let decode = decode::decode(&plan, &mut reader(), &mut decoded, &mut NoHandles);
            assert_eq!((skip.is_ok(), decode.is_ok()), (fits, fits), "{takes}");
        }
    }
}

/// A function that passes a record with one field many times.
fn passing(label: &str, times: usize) -> ComponentFunc {
    let text = format!(
        r#"(component (import "a:b/c" (instance
            (type $fields (record (field "{label}" u8)))
            (export "r" (type $r (eq $fields)))
            (export "f" (func (param "a" (tuple {})))))))"#,
        "$r ".repeat(times)
    );
    let component = wat::parse_str(text).unwrap();
    let code = Code::new(&Engine::default(), component).unwrap();
    for (_, import) in code.component_type().imports(code.engine()) {
        let ComponentItem::ComponentInstance(instance) = import.ty else {
            continue;
        };
        for (_, export) in instance.exports(code.engine()) {
            if let ComponentItem::ComponentFunc(func) = export.ty {
                return func;
            }
        }
    }
    panic!("no function");
}

#[test]
fn names_count_towards_what_the_plan_of_a_function_may_be() {
    let planned = |label: &str| signature(&passing(label, 20), &Resources::default()).map(drop);
    assert_eq!(planned("short"), Ok(()));
    assert_eq!(planned(&"n".repeat(1000)), Ok(()));
    assert!(planned(&"n".repeat(90_000)).unwrap_err().contains("parts"));
}

#[test]
fn the_plans_of_a_component_are_bounded_together() {
    let large = passing(&"n".repeat(70_000), 20);
    let resources = Resources::default();
    let planned = (0..20).filter(|_| signature(&large, &resources).is_ok());
    assert_eq!(planned.count(), 11);
    assert!(signature(&passing("short", 20), &resources).is_ok());
}
