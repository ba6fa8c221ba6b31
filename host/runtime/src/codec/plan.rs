//! The plan of a type: what encoding and decoding need to know, without any look-up.

use std::collections::HashMap;

use wasmtime::component::Type;

/// The most nodes that the plan of one function may have. Interfaces in use have hundreds.
const MAX_NODES: usize = 100_000;

/// How many bytes of a name count as one node: each occurrence of a type has a copy of it.
const NAME_BYTES: usize = 16;

/// How many names are searched one by one; more are looked up in a table.
const FEW_NAMES: usize = 12;

/// How values of one type stand on the wire.
#[derive(Debug, PartialEq)]
pub(crate) enum Plan {
    Bool,
    U8,
    S8,
    U16,
    U32,
    U64,
    S16,
    S32,
    S64,
    F32,
    F64,
    Char,
    String,
    /// `list<u8>`.
    Bytes,
    /// Any other list, with the least number of bytes that an item takes.
    List {
        item: Box<Plan>,
        min: usize,
    },
    Record(Box<[(String, Plan)]>),
    Tuple(Box<[Plan]>),
    Variant {
        names: Names,
        cases: Box<[Option<Plan>]>,
    },
    Enum(Names),
    Option(Box<Plan>),
    Result {
        ok: Option<Box<Plan>>,
        err: Option<Box<Plan>>,
    },
    Flags(Names),
    /// `own` or `borrow` of a resource whose handles are opaque bytes.
    Handle,
}

/// The names of cases or flags in wire order.
#[derive(Debug, PartialEq)]
pub(crate) struct Names {
    list: Box<[String]>,
    table: Option<HashMap<String, u32>>,
}

impl Names {
    pub(crate) fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let list: Box<[String]> = names.into_iter().map(Into::into).collect();
        let table = (list.len() > FEW_NAMES).then(|| {
            list.iter()
                .zip(0..)
                .map(|(name, i)| (name.clone(), i))
                .collect()
        });
        Self { list, table }
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn get(&self, index: usize) -> Option<&str> {
        self.list.get(index).map(String::as_str)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(String::as_str)
    }

    /// The names of the flags that are set in `raw`, which has a bit for each of them.
    pub(crate) fn set_in<'a>(&'a self, raw: &'a [u8]) -> impl Iterator<Item = &'a str> {
        let is_set = move |at: usize| {
            raw.get(at / 8)
                .is_some_and(|byte| byte >> (at % 8) & 1 == 1)
        };
        let names = self.iter().enumerate();
        names.filter_map(move |(at, name)| is_set(at).then_some(name))
    }

    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        match &self.table {
            Some(table) => table.get(name).map(|i| *i as usize),
            None => self.list.iter().position(|known| known == name),
        }
    }
}

/// Makes plans and remembers how large they have become.
pub(crate) struct Planner<'a> {
    nodes: usize,
    handles: &'a dyn Fn(&Type) -> Result<(), String>,
}

impl<'a> Planner<'a> {
    /// `handles` decides about each resource type whether its handles may travel.
    pub(crate) fn new(handles: &'a dyn Fn(&Type) -> Result<(), String>) -> Self {
        Self { nodes: 0, handles }
    }

    /// How large the plans have become together.
    pub(crate) fn nodes(&self) -> usize {
        self.nodes
    }

    fn grow(&mut self, nodes: usize) -> Result<(), String> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(format!("its type has more than {MAX_NODES} parts"));
        }
        Ok(())
    }

    /// The names of cases or flags, each of which is a node.
    fn names<'n>(&mut self, names: impl Iterator<Item = &'n str>) -> Result<Names, String> {
        let mut list = Vec::new();
        for name in names {
            self.grow(1 + name.len() / NAME_BYTES)?;
            list.push(name);
        }
        Ok(Names::new(list))
    }

    /// Plans a type.
    ///
    /// # Errors
    ///
    /// Says why values of the type cannot travel.
    pub(crate) fn plan(&mut self, ty: &Type) -> Result<Plan, String> {
        self.grow(1)?;
        Ok(match ty {
            Type::Bool => Plan::Bool,
            Type::U8 => Plan::U8,
            Type::S8 => Plan::S8,
            Type::U16 => Plan::U16,
            Type::U32 => Plan::U32,
            Type::U64 => Plan::U64,
            Type::S16 => Plan::S16,
            Type::S32 => Plan::S32,
            Type::S64 => Plan::S64,
            Type::Float32 => Plan::F32,
            Type::Float64 => Plan::F64,
            Type::Char => Plan::Char,
            Type::String => Plan::String,
            Type::List(list) => match list.ty() {
                Type::U8 => Plan::Bytes,
                item => Plan::list(self.plan(&item)?),
            },
            Type::Own(_) | Type::Borrow(_) => {
                (self.handles)(ty)?;
                Plan::Handle
            }
            Type::Future(_) => return Err("it uses a `future`".to_owned()),
            Type::Stream(_) => return Err("it uses a `stream`".to_owned()),
            Type::ErrorContext => return Err("it uses `error-context`".to_owned()),
            Type::Map(_) => return Err("it uses a `map`".to_owned()),
            Type::FixedLengthList(_) => return Err("it uses a list of fixed length".to_owned()),
            compound => self.compound(compound)?,
        })
    }

    fn compound(&mut self, ty: &Type) -> Result<Plan, String> {
        Ok(match ty {
            Type::Record(record) => Plan::Record(
                record
                    .fields()
                    .map(|field| {
                        self.grow(field.name.len() / NAME_BYTES)?;
                        Ok((field.name.to_owned(), self.plan(&field.ty)?))
                    })
                    .collect::<Result<_, String>>()?,
            ),
            Type::Tuple(tuple) => Plan::Tuple(
                tuple
                    .types()
                    .map(|ty| self.plan(&ty))
                    .collect::<Result<_, _>>()?,
            ),
            Type::Variant(variant) => Plan::Variant {
                names: self.names(variant.cases().map(|case| case.name))?,
                cases: variant
                    .cases()
                    .map(|case| case.ty.as_ref().map(|ty| self.plan(ty)).transpose())
                    .collect::<Result<_, _>>()?,
            },
            Type::Enum(cases) => Plan::Enum(self.names(cases.names())?),
            Type::Option(option) => Plan::Option(Box::new(self.plan(&option.ty())?)),
            Type::Result(result) => Plan::Result {
                ok: self.boxed(result.ok())?,
                err: self.boxed(result.err())?,
            },
            Type::Flags(flags) => Plan::Flags(self.names(flags.names())?),
            other => return Err(format!("it uses `{other:?}`")),
        })
    }

    fn boxed(&mut self, ty: Option<Type>) -> Result<Option<Box<Plan>>, String> {
        ty.map(|ty| self.plan(&ty).map(Box::new)).transpose()
    }
}

impl Plan {
    /// A list of items other than bytes.
    pub(crate) fn list(item: Plan) -> Self {
        Plan::List {
            min: item.min_len(),
            item: Box::new(item),
        }
    }

    /// A result with a plan for each side that has a value.
    pub(crate) fn result(ok: Option<Plan>, err: Option<Plan>) -> Self {
        Plan::Result {
            ok: ok.map(Box::new),
            err: err.map(Box::new),
        }
    }

    /// The least number of bytes that a value takes.
    pub(crate) fn min_len(&self) -> usize {
        match self {
            Plan::F32 => 4,
            Plan::F64 => 8,
            Plan::Record(fields) => fields.iter().map(|(_, plan)| plan.min_len()).sum(),
            Plan::Tuple(items) => items.iter().map(Plan::min_len).sum(),
            Plan::Variant { cases, .. } => {
                1 + cases
                    .iter()
                    .map(|c| c.as_ref().map_or(0, Plan::min_len))
                    .min()
                    .unwrap_or(0)
            }
            Plan::Result { ok, err } => {
                let side = |plan: &Option<Box<Plan>>| plan.as_ref().map_or(0, |p| p.min_len());
                1 + side(ok).min(side(err))
            }
            Plan::Flags(names) => names.len().div_ceil(8),
            _ => 1,
        }
    }

    /// Whether values contain resource handles.
    pub(crate) fn has_handles(&self) -> bool {
        let side = |plan: &Option<Box<Plan>>| plan.as_ref().is_some_and(|p| p.has_handles());
        match self {
            Plan::Handle => true,
            Plan::List { item, .. } => item.has_handles(),
            Plan::Record(fields) => fields.iter().any(|(_, plan)| plan.has_handles()),
            Plan::Tuple(items) => items.iter().any(Plan::has_handles),
            Plan::Variant { cases, .. } => cases.iter().flatten().any(Plan::has_handles),
            Plan::Option(some) => some.has_handles(),
            Plan::Result { ok, err } => side(ok) || side(err),
            _ => false,
        }
    }

    /// What the type is called in messages.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Plan::Bool => "bool",
            Plan::U8 => "u8",
            Plan::S8 => "s8",
            Plan::U16 => "u16",
            Plan::U32 => "u32",
            Plan::U64 => "u64",
            Plan::S16 => "s16",
            Plan::S32 => "s32",
            Plan::S64 => "s64",
            Plan::F32 => "f32",
            Plan::F64 => "f64",
            Plan::Char => "char",
            Plan::String => "string",
            Plan::Bytes => "list<u8>",
            Plan::List { .. } => "list",
            Plan::Record(_) => "record",
            Plan::Tuple(_) => "tuple",
            Plan::Variant { .. } => "variant",
            Plan::Enum(_) => "enum",
            Plan::Option(_) => "option",
            Plan::Result { .. } => "result",
            Plan::Flags(_) => "flags",
            Plan::Handle => "resource",
        }
    }
}
