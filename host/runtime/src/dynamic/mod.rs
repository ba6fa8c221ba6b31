//! Imports that no host knows: every function is forwarded to the target of a link, under the
//! names that the component imports it by.

mod known;
mod lanes;
mod tally;
mod values;

use std::cell::Cell;
use std::sync::Arc;

use wasmtime::component::types::{ComponentFunc, ComponentInstance, ComponentItem};
use wasmtime::component::{
    Component as Code, Linker, LinkerInstance, Resource, ResourceType, Type,
};

use crate::codec::{Plan, Planner};
use crate::imports::{Provided, RpcError, provider, split_version};
use crate::outbound::Target;
use crate::store::Ctx;
use crate::{PrepareError, Shape};

pub(crate) use tally::{MAX_FUNCTIONS, check_name, shown};
use tally::{Tally, too_many};
pub(crate) use values::RemoteResource;

/// An imported function and what is needed to call it.
struct Import {
    /// The interface as links name it.
    lookup: Arc<str>,
    /// The interface on the wire.
    instance: Arc<str>,
    /// The function on the wire.
    function: String,
    params: Shape,
    results: Shape,
    /// The result is `result<T, error>` of `wrpc:rpc`, of which only `T` travels.
    rpc_error: bool,
}

impl Import {
    fn target(&self) -> Target<'_> {
        Target {
            lookup: &self.lookup,
            instance: &self.instance,
            function: &self.function,
            results: &self.results,
            by_host: false,
            again: false,
        }
    }
}

/// Who owns the resources of an imported type.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    /// The callee; handles are opaque bytes.
    Callee,
    /// `error` of `wrpc:rpc/error`.
    RpcError,
    /// This host; handles mean nothing elsewhere.
    Host(String),
}

/// How large the plans of all functions of a component may be together. A few bytes of it have many
/// functions pass one large type, and each of them has a plan of its own.
const MAX_PLANNED: usize = 1_000_000;

/// How many types of resources a component may import. They are searched one by one.
const MAX_TYPES: usize = 1000;

/// The resource types that the imports seen so far have introduced, and how much was planned with
/// them.
#[derive(Default)]
pub(crate) struct Resources {
    types: Vec<(ResourceType, Owner)>,
    planned: Cell<usize>,
}

impl Resources {
    /// Counts the plans of one more function.
    fn count(&self, nodes: usize) -> Result<(), String> {
        let planned = self.planned.get() + nodes;
        if planned > MAX_PLANNED {
            return Err(format!(
                "the types of it and of the functions before it have more than {MAX_PLANNED} parts"
            ));
        }
        self.planned.set(planned);
        Ok(())
    }

    fn owner(&self, ty: ResourceType) -> Option<&Owner> {
        self.types
            .iter()
            .find(|(known, _)| *known == ty)
            .map(|(_, owner)| owner)
    }

    /// Whether handles of a type may be parameters or results of a call that leaves the host.
    fn may_travel(&self, ty: &Type) -> Result<(), String> {
        let (Type::Own(resource) | Type::Borrow(resource)) = ty else {
            return Ok(());
        };
        match self.owner(*resource) {
            Some(Owner::Callee) => Ok(()),
            Some(Owner::RpcError) => Err(
                "it passes an `error` of `wrpc:rpc` other than as its result's error".to_owned(),
            ),
            Some(Owner::Host(name)) => {
                Err(format!("it passes a `{name}`, which cannot leave the host"))
            }
            None => Err("it passes a resource that the component itself owns".to_owned()),
        }
    }

    fn is_rpc_error(&self, ty: &Type) -> bool {
        matches!(ty, Type::Own(resource) if self.owner(*resource) == Some(&Owner::RpcError))
    }
}

/// The parameters and results of a function as they travel.
pub(crate) struct Signature {
    pub(crate) params: Shape,
    pub(crate) results: Shape,
    pub(crate) rpc_error: bool,
}

impl Signature {
    /// Whether resource handles travel.
    pub(crate) fn has_handles(&self) -> bool {
        self.params
            .plans()
            .iter()
            .chain(self.results.plans())
            .any(Plan::has_handles)
    }
}

/// Plans a function type, or says why it cannot travel.
pub(crate) fn signature(func: &ComponentFunc, resources: &Resources) -> Result<Signature, String> {
    if func.async_() {
        return Err("it is asynchronous".to_owned());
    }
    let may_travel = |ty: &Type| resources.may_travel(ty);
    let mut planner = Planner::new(&may_travel);
    let params: Vec<Plan> = func
        .params()
        .map(|(_, ty)| planner.plan(&ty))
        .collect::<Result<_, _>>()?;
    let types: Vec<Type> = func.results().collect();
    if let [Type::Result(result)] = types.as_slice()
        && result
            .err()
            .is_some_and(|error| resources.is_rpc_error(&error))
    {
        let ok = result.ok().map(|ty| planner.plan(&ty)).transpose()?;
        let results: Vec<Plan> = ok.into_iter().collect();
        resources.count(planner.nodes())?;
        return Ok(Signature {
            params: Shape::new(params),
            results: Shape::new(results),
            rpc_error: true,
        });
    }
    let results: Vec<Plan> = types
        .iter()
        .map(|ty| planner.plan(ty))
        .collect::<Result<_, _>>()?;
    resources.count(planner.nodes())?;
    Ok(Signature {
        params: Shape::new(params),
        results: Shape::new(results),
        rpc_error: false,
    })
}

/// Collects the resource types of all imports.
pub(crate) fn resources(code: &Code) -> Resources {
    let mut resources = Resources::default();
    for (name, import) in code.component_type().imports(code.engine()) {
        if let ComponentItem::ComponentInstance(instance) = import.ty {
            resources.add(code, name, &instance);
        }
    }
    resources
}

impl Resources {
    /// Whether there are more types than a component may import.
    fn is_over(&self) -> bool {
        self.types.len() > MAX_TYPES
    }

    /// Adds the types that an instance introduces, as opposed to those it takes from others.
    fn add(
        &mut self,
        code: &Code,
        instance_name: &str,
        instance: &ComponentInstance,
    ) -> Vec<String> {
        let mut new = Vec::new();
        for (name, export) in instance.exports(code.engine()) {
            let ComponentItem::Resource(ty) = export.ty else {
                continue;
            };
            // With one too many the component is refused.
            if self.is_over() || self.owner(ty).is_some() {
                continue;
            }
            let owner = match provider(instance_name) {
                Provided::Link => Owner::Callee,
                _ if instance_name.starts_with("wrpc:rpc/error") => Owner::RpcError,
                _ => Owner::Host(shown(name).into_owned()),
            };
            self.types.push((ty, owner));
            new.push(name.to_owned());
        }
        new
    }
}

/// Defines all imports that the host does not implement.
pub(crate) fn link(linker: &mut Linker<Ctx>, code: &Code) -> Result<(), PrepareError> {
    let mut resources = Resources::default();
    let mut tally = Tally::default();
    for (name, import) in code.component_type().imports(code.engine()) {
        match import.ty {
            ComponentItem::ComponentInstance(instance) => {
                let new = resources.add(code, name, &instance);
                if resources.is_over() {
                    return Err(too_many("types of resources", MAX_TYPES));
                }
                match provider(name) {
                    Provided::Host => crate::imports::fit(linker, code.engine(), name, &instance)
                        .map_err(PrepareError::Link)?,
                    Provided::OtherVersion => {
                        tally.add(name, "this host implements version 0.2 of it");
                    }
                    Provided::Link => {
                        let mut define = Definer {
                            linker,
                            resources: &resources,
                        };
                        define.instance(code, name, &instance, &new, &mut tally)?;
                    }
                }
            }
            ComponentItem::ComponentFunc(func) => {
                tally.take("", name)?;
                match signature(&func, &resources) {
                    Ok(signature) => {
                        let import = import_of(&Interface::new(""), name, signature);
                        define(&mut linker.root(), name, import).map_err(PrepareError::Link)?;
                    }
                    Err(why) => tally.add(name, &why),
                }
            }
            ComponentItem::Type(_) => {}
            ComponentItem::Module(_) | ComponentItem::CoreFunc(_) => {
                tally.add(name, "a core module cannot be imported");
            }
            ComponentItem::Component(_) => tally.add(name, "a component cannot be imported"),
            ComponentItem::Resource(_) => tally.add(name, "a resource outside of an interface"),
        }
    }
    tally.finish()
}

/// The imports that no link can lead to: links name an interface of a package. Calls of them fail.
pub(crate) fn outside_of_interfaces(code: &Code) -> Vec<String> {
    let types = code.component_type();
    let imports = types.imports(code.engine());
    let outside = imports.filter(|(name, import)| match &import.ty {
        ComponentItem::ComponentFunc(_) => true,
        ComponentItem::ComponentInstance(_) => {
            matches!(provider(name), Provided::Link) && !name.contains('/')
        }
        _ => false,
    });
    let names = outside.map(|(name, _)| shown(name).into_owned());
    names.collect()
}

struct Definer<'a> {
    linker: &'a mut Linker<Ctx>,
    resources: &'a Resources,
}

impl Definer<'_> {
    fn instance(
        &mut self,
        code: &Code,
        name: &str,
        instance: &ComponentInstance,
        new_resources: &[String],
        tally: &mut Tally,
    ) -> Result<(), PrepareError> {
        let mut linked = self.linker.instance(name).map_err(PrepareError::Link)?;
        for resource in new_resources {
            let ty = ResourceType::host::<RemoteResource>();
            linked
                .resource(resource, ty, |mut store, rep| {
                    // The callee is not told: the wire has no message for it.
                    store
                        .data_mut()
                        .table
                        .delete(Resource::<RemoteResource>::new_own(rep))?;
                    Ok(())
                })
                .map_err(PrepareError::Link)?;
        }
        let interface = Interface::new(name);
        for (function, export) in instance.exports(code.engine()) {
            match export.ty {
                ComponentItem::ComponentFunc(func) => {
                    tally.take(name, function)?;
                    match signature(&func, self.resources) {
                        Ok(signature) => {
                            let import = import_of(&interface, function, signature);
                            define(&mut linked, function, import).map_err(PrepareError::Link)?;
                        }
                        Err(why) => tally.add_in(name, function, &why),
                    }
                }
                ComponentItem::Resource(_) | ComponentItem::Type(_) => {}
                _ => tally.add_in(name, function, "neither function nor type"),
            }
        }
        Ok(())
    }
}

/// The names of an interface, which all of its functions share.
struct Interface {
    lookup: Arc<str>,
    instance: Arc<str>,
}

impl Interface {
    fn new(instance: &str) -> Self {
        Self {
            lookup: split_version(instance).0.into(),
            instance: instance.into(),
        }
    }
}

fn import_of(interface: &Interface, function: &str, signature: Signature) -> Import {
    Import {
        lookup: Arc::clone(&interface.lookup),
        instance: Arc::clone(&interface.instance),
        function: wire_function(function),
        params: signature.params,
        results: signature.results,
        rpc_error: signature.rpc_error,
    }
}

/// The name of a function on the wire: without the decoration of methods and constructors.
pub(crate) fn wire_function(name: &str) -> String {
    match name.split_once(']') {
        Some((decoration, plain)) if decoration.starts_with('[') => plain.to_owned(),
        _ => name.to_owned(),
    }
}

/// Defines one function, with Rust types when its signature is a common one.
fn define(
    instance: &mut LinkerInstance<'_, Ctx>,
    name: &str,
    import: Import,
) -> wasmtime::Result<()> {
    let import = Arc::new(import);
    match lanes::find(&import).or_else(|| known::find(&import)) {
        Some(define) => define(instance, name, import),
        None => values::define(instance, name, import),
    }
}

/// Registers `error` of `wrpc:rpc` as a value of the guest.
fn push_error(cx: &mut Ctx, error: &crate::InvokeError) -> wasmtime::Result<Resource<RpcError>> {
    Ok(cx.table.push(RpcError(crate::imports::kept_chain(error)))?)
}
