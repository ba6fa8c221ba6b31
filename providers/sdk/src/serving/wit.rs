//! The types of functions as WIT texts tell them, and parameters by these types.

use std::collections::HashMap;
use std::sync::Arc;

use lattice_codec::{DecodeError, Reader};
use wit_parser::{Function, Resolve, Type, TypeDefKind as Kind, TypeId};

use super::checks::Walk;
use crate::error::ServeError;

/// How many bytes the items of all lists of one call may take together that are not plain numbers, once
/// generated code has decoded them. One that came as a byte may take hundreds, such as an empty case of a
/// variant with a long one.
const MOST_BYTES: u64 = 256 << 20;

/// How many bytes generated code keeps beside each item.
const BESIDE: u64 = 16;

/// How many a number takes at most, or what says which case a value is of.
const WORD: u64 = 8;

/// How many a text, a list or a handle takes at most, without what it points to.
const POINTER: u64 = 32;

/// About how many bytes a value of each type takes, without what it points to.
type Sizes = HashMap<TypeId, u64>;

/// A type that cannot travel. No function with one is served.
const UNREADABLE: DecodeError = DecodeError::InvalidField {
    field: "type of a parameter",
};

/// The packages of a provider.
#[derive(Debug)]
pub(super) struct Known(Arc<Resolve>);

impl Known {
    pub(super) fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, ServeError> {
        // What stands behind a feature is served by whoever has bindings for it.
        let mut resolve = Resolve {
            all_features: true,
            ..Resolve::default()
        };
        for (number, text) in (1..).zip(texts) {
            let pushed = resolve.push_source(&format!("text-{number}.wit"), text);
            pushed.map_err(|error| ServeError::Wit(format!("{error:#}").into()))?;
        }
        Ok(Self(Arc::new(resolve)))
    }

    /// What walks over the parameters of a function.
    pub(super) fn walk(&self, instance: &str, name: &str) -> Result<Walk, ServeError> {
        let function = self.function(instance, name);
        let function = function.ok_or_else(|| ServeError::NotInWit {
            instance: instance.to_owned(),
            function: name.to_owned(),
        })?;
        self.check_types(instance, function)?;
        let params: Vec<Type> = function.params.iter().map(|param| param.ty).collect();
        let mut sizes = Sizes::new();
        for param in &params {
            self.size(*param, &mut sizes);
        }
        let resolve = Arc::clone(&self.0);
        let walk: Walk = Arc::new(move |reader: &mut Reader| {
            let mut walker = Walker {
                resolve: &resolve,
                reader,
                sizes: &sizes,
                bytes_left: MOST_BYTES,
            };
            params.iter().try_for_each(|ty| walker.value(*ty))
        });
        Ok(walk)
    }

    fn function(&self, instance: &str, name: &str) -> Option<&Function> {
        let mut interfaces = self.0.interfaces.iter();
        let found = interfaces.find(|(id, _)| self.0.id_of(*id).as_deref() == Some(instance));
        let (_, interface) = found?;
        interface.functions.get(name)
    }

    /// Refuses a function with types that cannot travel, or that its callers would misread.
    fn check_types(&self, instance: &str, function: &Function) -> Result<(), ServeError> {
        let refused = |kind: &'static str| ServeError::Type {
            instance: instance.to_owned(),
            function: function.name.clone(),
            kind,
        };
        let mut types = Vec::new();
        for param in &function.params {
            self.collect(param.ty, &mut types).map_err(refused)?;
        }
        // Flags among parameters are read as they are meant; it is too much that is written.
        types.clear();
        if let Some(result) = function.result {
            self.collect(result, &mut types).map_err(refused)?;
        }
        for id in types {
            let def = &self.0.types[id];
            if let Kind::Flags(flags) = &def.kind
                && is_miswritten(flags.flags.len())
            {
                return Err(ServeError::Flags {
                    instance: instance.to_owned(),
                    function: function.name.clone(),
                    flags: def.name.clone().unwrap_or_default(),
                    names: flags.flags.len(),
                });
            }
        }
        Ok(())
    }

    /// Collects the types that one is made of, or says which of them cannot travel.
    fn collect(&self, ty: Type, types: &mut Vec<TypeId>) -> Result<(), &'static str> {
        let id = match ty {
            Type::Id(id) => id,
            Type::ErrorContext => return Err("error-context"),
            _ => return Ok(()),
        };
        if types.contains(&id) {
            return Ok(());
        }
        types.push(id);
        let mut parts = parts(&self.0.types[id].kind)?.into_iter();
        parts.try_for_each(|ty| self.collect(ty, types))
    }

    /// About how many bytes a value takes, which is kept for each type that it is made of.
    fn size(&self, ty: Type, sizes: &mut Sizes) -> u64 {
        let id = match ty {
            Type::Id(id) => id,
            Type::String => return POINTER,
            _ => return WORD,
        };
        if let Some(size) = sizes.get(&id) {
            return *size;
        }
        let kind = &self.0.types[id].kind;
        let parts = parts(kind).unwrap_or_default().into_iter();
        let parts: Vec<u64> = parts.map(|ty| self.size(ty, sizes)).collect();
        let size: u64 = match kind {
            Kind::Record(_) | Kind::Tuple(_) | Kind::Type(_) => parts.iter().sum(),
            Kind::Variant(_) | Kind::Result(_) | Kind::Option(_) => {
                WORD + parts.iter().max().copied().unwrap_or_default()
            }
            Kind::Flags(_) | Kind::Enum(_) => WORD,
            _ => POINTER,
        };
        sizes.insert(id, size);
        size
    }
}

/// The types that one is made of, or what it is called where it cannot travel.
fn parts(kind: &Kind) -> Result<Vec<Type>, &'static str> {
    Ok(match kind {
        Kind::Record(record) => record.fields.iter().map(|field| field.ty).collect(),
        Kind::Tuple(tuple) => tuple.types.clone(),
        Kind::Variant(variant) => variant.cases.iter().filter_map(|case| case.ty).collect(),
        Kind::Result(result) => result.ok.into_iter().chain(result.err).collect(),
        Kind::Option(ty) | Kind::List(ty) | Kind::Type(ty) => vec![*ty],
        Kind::Future(ty) | Kind::Stream(ty) => ty.iter().copied().collect(),
        Kind::Handle(_) | Kind::Flags(_) | Kind::Enum(_) => Vec::new(),
        Kind::Resource | Kind::Map(..) | Kind::FixedLengthList(..) | Kind::Unknown => {
            return Err(kind.as_str());
        }
    })
}

/// Whether generated code writes flags with so many names in more bytes than anybody reads, its own
/// decoder included: all of the integer that it keeps them in. Components have flags of 32 names at most,
/// so that it is those of 17 to 24; a text may have more.
fn is_miswritten(names: usize) -> bool {
    let written = match names {
        0..=8 => 1,
        9..=16 => 2,
        17..=32 => 4,
        33..=64 => 8,
        _ => 16,
    };
    names > 0 && written != names.div_ceil(8)
}

/// Moves over values without making them.
struct Walker<'a, 'b> {
    resolve: &'a Resolve,
    reader: &'b mut Reader,
    sizes: &'a Sizes,
    bytes_left: u64,
}

impl Walker<'_, '_> {
    fn value(&mut self, ty: Type) -> Result<(), DecodeError> {
        let reader = &mut *self.reader;
        match ty {
            Type::Bool => drop(reader.bool()?),
            Type::U8 | Type::S8 => drop(reader.u8()?),
            Type::U16 => drop(reader.uleb(16)?),
            Type::U32 => drop(reader.uleb(32)?),
            Type::U64 => drop(reader.uleb(64)?),
            Type::S16 => drop(reader.sleb(16)?),
            Type::S32 => drop(reader.sleb(32)?),
            Type::S64 => drop(reader.sleb(64)?),
            Type::F32 => drop(reader.take(4)?),
            Type::F64 => drop(reader.take(8)?),
            Type::Char => drop(reader.char()?),
            Type::String => drop(reader.bytes()?),
            Type::ErrorContext => return Err(UNREADABLE),
            Type::Id(id) => return self.defined(id),
        }
        Ok(())
    }

    fn defined(&mut self, id: TypeId) -> Result<(), DecodeError> {
        let resolve = self.resolve;
        match &resolve.types[id].kind {
            Kind::Type(ty) => self.value(*ty),
            Kind::Record(record) => {
                let mut fields = record.fields.iter();
                fields.try_for_each(|field| self.value(field.ty))
            }
            Kind::Tuple(tuple) => tuple.types.iter().try_for_each(|ty| self.value(*ty)),
            Kind::Handle(_) => self.reader.bytes().map(drop),
            Kind::Flags(flags) => {
                let len = flags.flags.len().div_ceil(8);
                self.reader.take(len).map(drop)
            }
            Kind::Enum(cases) => {
                let count = cases.cases.len() as u32;
                self.reader.case("enum", count).map(drop)
            }
            Kind::Variant(variant) => {
                let count = variant.cases.len() as u32;
                let case = self.reader.case("variant", count)?;
                self.optional(variant.cases[case as usize].ty)
            }
            Kind::Result(result) => {
                let is_err = self.reader.result_is_err()?;
                self.optional(if is_err { result.err } else { result.ok })
            }
            Kind::Option(ty) => {
                let some = self.reader.option(|_| Ok(()))?;
                self.optional(some.map(|()| *ty))
            }
            Kind::List(ty) => self.list(*ty),
            Kind::Future(ty) => {
                let is_ready = self.reader.future_is_ready()?;
                self.optional(ty.filter(|_| is_ready))
            }
            // The items that are there already; none where they follow.
            Kind::Stream(Some(ty)) => self.list(*ty),
            Kind::Stream(None) => self.reader.count(0).map(drop),
            Kind::Resource | Kind::Map(..) | Kind::FixedLengthList(..) | Kind::Unknown => {
                Err(UNREADABLE)
            }
        }
    }

    fn optional(&mut self, ty: Option<Type>) -> Result<(), DecodeError> {
        match ty {
            Some(ty) => self.value(ty),
            None => Ok(()),
        }
    }

    fn list(&mut self, item: Type) -> Result<(), DecodeError> {
        let item = self.named(item);
        if matches!(item, Type::U8 | Type::S8) {
            return self.reader.bytes().map(drop);
        }
        let count = self.reader.count(1)?;
        if let Some(size) = self.size(item) {
            let (count, each) = (count as u64, BESIDE + size);
            let too_long = DecodeError::TooLong {
                len: count,
                limit: self.bytes_left / each,
            };
            let left = self.bytes_left.checked_sub(count.saturating_mul(each));
            self.bytes_left = left.ok_or(too_long)?;
        }
        (0..count).try_for_each(|_| self.value(item))
    }

    /// About how many bytes an item takes; none for plain numbers, of which all have come.
    fn size(&self, item: Type) -> Option<u64> {
        match item {
            Type::String => Some(POINTER),
            Type::Id(id) => self.sizes.get(&id).copied(),
            _ => None,
        }
    }

    /// The type that a name stands for.
    fn named(&self, mut ty: Type) -> Type {
        while let Type::Id(id) = ty
            && let Kind::Type(other) = &self.resolve.types[id].kind
        {
            ty = *other;
        }
        ty
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const DEPS: &str = "
        package test:deps@0.1.0;
        interface kinds {
            type text = string;
            resource thing;
            record pair { name: text, size: u64 }
        }";

    const OWN: &str = "
        package test:home@0.1.0;
        interface api {
            use test:deps/kinds@0.1.0.{pair, thing};
            variant shape { none, some(list<pair>) }
            flags caps {
                c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15, c16,
            }
            all: func(
                a: list<shape>,
                b: option<tuple<u8, char>>,
                c: borrow<thing>,
                d: result<_, caps>,
                e: list<u8>,
            );
            wide: func(a: list<option<tuple<pair, pair, pair, pair, pair, pair, pair, pair>>>);
            narrow: func(a: list<option<u8>>);
            answer: func() -> list<caps>;
        }
        world root {
            export api;
            export run: func();
        }";

    /// A shape with the pair of `n` and 5, some of `7` and `x`, a handle of two bytes, an error with
    /// all flags, two bytes.
    const ALL: &[u8] = b"\x01\x01\x01\x01n\x05\x01\x07x\x02\xaa\xbb\x01\xff\xff\x01\x02\x01\x02";

    fn known() -> Known {
        Known::new([DEPS, OWN]).unwrap()
    }

    fn walked(params: &[u8]) -> Result<usize, DecodeError> {
        walked_of("all", params)
    }

    fn walked_of(function: &str, params: &[u8]) -> Result<usize, DecodeError> {
        let walk = known().walk("test:home/api@0.1.0", function).unwrap();
        let mut reader = Reader::new(Bytes::copy_from_slice(params));
        walk(&mut reader)?;
        Ok(reader.remaining())
    }

    fn refused(instance: &str, function: &str) -> ServeError {
        let refused = known().walk(instance, function).err();
        refused.expect("the function is refused")
    }

    #[test]
    fn all_parameters_are_walked_over_and_no_less() {
        assert_eq!(walked(ALL), Ok(0));
        assert_eq!(walked(&[ALL, b"\x00"].concat()), Ok(1));
        for end in 0..ALL.len() {
            let cut = walked(&ALL[..end]);
            let is_cut = matches!(cut, Err(DecodeError::Incomplete { .. }));
            assert!(is_cut, "{end}: {cut:?}");
        }
    }

    #[test]
    fn items_are_bounded_by_what_they_take_once_they_are_decoded() {
        const ITEMS: usize = 1 << 20;
        let mut params = bytes::BytesMut::new();
        lattice_codec::write::uleb(&mut params, ITEMS as u64);
        params.resize(params.len() + ITEMS, 0);
        assert_eq!(walked_of("narrow", &params), Ok(0));
        // Each is as long as the case that it is not.
        let limit = MOST_BYTES / (BESIDE + WORD + 8 * (POINTER + WORD));
        let len = ITEMS as u64;
        assert_eq!(
            walked_of("wide", &params),
            Err(DecodeError::TooLong { len, limit })
        );
    }

    #[test]
    fn the_items_of_all_lists_have_a_bound_together() {
        // Two lists of pairs, each of which fits alone.
        let half = MOST_BYTES / 2 / (BESIDE + POINTER + WORD) + 1;
        let list = |out: &mut bytes::BytesMut| {
            lattice_codec::write::uleb(out, 1);
            lattice_codec::write::uleb(out, half);
            out.resize(out.len() + 2 * half as usize, 0);
        };
        let mut params = bytes::BytesMut::from(&b"\x02"[..]);
        list(&mut params);
        list(&mut params);
        let walked = walked(&params);
        let is_too_long = matches!(walked, Err(DecodeError::TooLong { .. }));
        assert!(is_too_long, "{walked:?}");
    }

    #[test]
    fn flags_that_would_be_misread_are_refused_in_answers_alone() {
        assert!(known().walk("test:home/api@0.1.0", "all").is_ok());
        let error = refused("test:home/api@0.1.0", "answer");
        let ServeError::Flags { flags, names, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!((flags.as_str(), *names), ("caps", 17));
        let misread: Vec<usize> = (0..=32).filter(|names| is_miswritten(*names)).collect();
        assert_eq!(misread, (17..=24).collect::<Vec<_>>());
    }

    #[test]
    fn what_no_text_has_and_what_a_world_declares_is_refused() {
        for (instance, function) in [
            ("test:home/api@0.1.0", "put"),
            ("test:home/api@0.2.0", "all"),
            ("test:home/root@0.1.0", "run"),
        ] {
            let error = refused(instance, function);
            assert!(matches!(error, ServeError::NotInWit { .. }), "{error}");
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn a_text_that_is_no_package_is_refused() {
        for texts in [&["package test:home; interface {"][..], &[OWN]] {
            let refused = Known::new(texts.iter().copied()).err();
            assert!(matches!(refused, Some(ServeError::Wit(_))), "{refused:?}");
        }
    }
}
