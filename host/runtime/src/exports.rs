//! Finding out what a component offers to be called, and planning each call.

use std::collections::HashSet;
use std::sync::Arc;

use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::component::{Component as Code, ComponentExportIndex, InstancePre};

use crate::call::{
    CallPlan, How, incoming_call, message_call, offered_call, plain_incoming_call, typed_call,
    watcher_call,
};
use crate::component::Shared;
use crate::dynamic::{self, MAX_FUNCTIONS, Resources, check_name, shown, signature, wire_function};
use crate::export::ExportInner;
use crate::http::HttpPlan;
use crate::imports::{OFFERED, OWN_HANDLER, split_version};
use crate::store::Ctx;
use crate::{Export, ExportKind, LogLevel, LogRecord, LogSource, PrepareError, Shape};

/// How many warnings a component gets: it may have any number of exports that cannot be called.
const MAX_WARNINGS: usize = 20;

/// What was found.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) exports: Vec<Export>,
    pub(crate) plans: Vec<CallPlan>,
    pub(crate) http: Option<HttpPlan>,
}

struct Finder<'a> {
    shared: &'a Shared,
    code: &'a Code,
    resources: Resources,
    found: Found,
    /// The names on the wire that are taken: interface and function.
    taken: HashSet<(String, String)>,
    warnings: usize,
}

/// Finds the exports of a component. Those that cannot be called from elsewhere are left out
/// with a warning in the component's log.
pub(crate) fn find(
    shared: &Shared,
    code: &Code,
    pre: &InstancePre<Ctx>,
) -> Result<Found, PrepareError> {
    let resources = dynamic::resources(code);
    let mut finder = Finder {
        shared,
        code,
        resources,
        found: Found::default(),
        taken: HashSet::new(),
        warnings: 0,
    };
    for (name, export) in code.component_type().exports(code.engine()) {
        let Some(index) = code.get_export_index(None, name) else {
            continue;
        };
        match export.ty {
            ComponentItem::ComponentFunc(func) => finder.function("", name, index, &func),
            ComponentItem::ComponentInstance(instance) if is_http(name) => {
                // An instance without the function is refused when the plan is made.
                drop(instance);
                finder.http(pre)?;
            }
            ComponentItem::ComponentInstance(instance) => {
                for (function, export) in instance.exports(code.engine()) {
                    finder.member(name, index, function, export.ty);
                }
            }
            _ => {}
        }
    }
    for name in dynamic::outside_of_interfaces(code) {
        finder.warn(&format!(
            "`{name}` is imported outside of an interface, where no link leads; \
             declare it in an interface of a package, and import that"
        ));
    }
    finder.tell_rest();
    Ok(finder.found)
}

fn is_http(name: &str) -> bool {
    let (interface, version) = split_version(name);
    interface == "wasi:http/incoming-handler" && version.is_some_and(|v| v.starts_with("0.2."))
}

/// How messages are handed to components.
const HANDLER: &str = "wasmcloud:messaging/handler@0.2.0";

/// Whether a function takes one resource and returns a result without a value: the ids of the
/// packages with `incoming-handler` stand for other shapes too.
fn takes_message(func: &ComponentFunc) -> bool {
    let mut params = func.params();
    let takes_one = matches!(params.next(), Some((_, Type::Own(_)))) && params.next().is_none();
    let returns = |ty| matches!(ty, Type::Result(result) if result.ok().is_none());
    takes_one && func.results().next().is_some_and(returns)
}

impl Finder<'_> {
    fn warn(&mut self, message: &str) {
        self.warnings += 1;
        if self.warnings <= MAX_WARNINGS {
            self.log(message);
        }
    }

    /// Says how many warnings were left out.
    fn tell_rest(&self) {
        let rest = self.warnings.saturating_sub(MAX_WARNINGS);
        if rest > 0 {
            self.log(&format!("left out {rest} more warnings"));
        }
    }

    fn log(&self, message: &str) {
        let record = LogRecord::plain(LogSource::Runtime, LogLevel::Warn, message);
        self.shared.env.log(record);
    }

    fn member(
        &mut self,
        instance: &str,
        parent: ComponentExportIndex,
        function: &str,
        item: ComponentItem,
    ) {
        match item {
            ComponentItem::ComponentFunc(func) => {
                if let Some(index) = self.code.get_export_index(Some(&parent), function) {
                    self.function(instance, function, index, &func);
                }
            }
            ComponentItem::Resource(_) => {
                let (instance, name) = (shown(instance), shown(function));
                self.warn(&format!(
                    "exported resource `{instance}.{name}` is not served"
                ));
            }
            _ => {}
        }
    }

    fn function(
        &mut self,
        instance: &str,
        function: &str,
        index: ComponentExportIndex,
        func: &ComponentFunc,
    ) {
        let planned = self
            .check(instance, function)
            .and_then(|()| self.plan(instance, function, func));
        match planned {
            Ok(planned) => {
                for planned in planned {
                    self.add(planned, function, index);
                }
            }
            Err(why) => {
                let name = if instance.is_empty() {
                    String::new()
                } else {
                    format!("{}.", shown(instance))
                };
                let function = shown(function);
                self.warn(&format!("export `{name}{function}` is not served: {why}"));
            }
        }
    }

    /// Says why one more function is not served, whatever it is, if there is a reason.
    fn check(&self, instance: &str, function: &str) -> Result<(), String> {
        check_name(instance)?;
        check_name(function)?;
        if self.found.exports.len() >= MAX_FUNCTIONS {
            return Err(format!("there are {MAX_FUNCTIONS} functions already"));
        }
        Ok(())
    }

    /// How a function is served: under one name, or under several.
    fn plan(
        &self,
        instance: &str,
        function: &str,
        func: &ComponentFunc,
    ) -> Result<Vec<Planned>, String> {
        let fixed = |kind, instance: &str, (call, params)| Planned {
            kind,
            instance: instance.to_owned(),
            function: None,
            params,
            how: How::Typed(call),
        };
        match split_version(instance) {
            ("wasi:keyvalue/watcher", Some("0.2.0-draft" | "0.2.0-draft2")) => {
                let call = watcher_call(function).ok_or("the interface has no such function")?;
                let wire = "wrpc:keyvalue/watcher@0.2.0-draft";
                Ok(vec![fixed(ExportKind::KeyvalueWatcher, wire, call)])
            }
            ("wasmcloud:messaging/handler", Some("0.2.0")) if function == "handle-message" => {
                Ok(vec![fixed(ExportKind::Messaging, instance, message_call())])
            }
            (
                "wasi:messaging/incoming-handler" | "wasmcloud:messaging/incoming-handler",
                Some("0.2.0-draft" | "0.3.0"),
            ) if function == "handle" && takes_message(func) => Ok(vec![
                fixed(ExportKind::Messaging, OWN_HANDLER, incoming_call()),
                Planned {
                    function: Some(OFFERED),
                    ..fixed(ExportKind::Messaging, OWN_HANDLER, offered_call())
                },
                // For providers of 1.x, which know no other.
                Planned {
                    function: Some("handle-message"),
                    ..fixed(ExportKind::Messaging, HANDLER, plain_incoming_call())
                },
            ]),
            ("lattice:messaging/handler", Some("0.1.0")) if function == "handle" => Ok(vec![
                self.any(instance, func)?,
                Planned {
                    function: Some(OFFERED),
                    ..fixed(ExportKind::Messaging, OWN_HANDLER, offered_call())
                },
            ]),
            _ => Ok(vec![self.any(instance, func)?]),
        }
    }

    fn any(&self, instance: &str, func: &ComponentFunc) -> Result<Planned, String> {
        let signature = signature(func, &self.resources)?;
        if signature.has_handles() {
            return Err("it passes resources".to_owned());
        }
        let params = signature.params.clone();
        let typed = (!signature.rpc_error)
            .then(|| typed_call(&signature.params, &signature.results))
            .flatten();
        let how = typed.map_or_else(
            || How::Values {
                params: signature.params,
                results: signature.results,
                rpc_error: signature.rpc_error,
            },
            How::Typed,
        );
        Ok(Planned {
            kind: ExportKind::Function,
            instance: instance.to_owned(),
            function: None,
            params,
            how,
        })
    }

    fn add(&mut self, planned: Planned, function: &str, index: ComponentExportIndex) {
        let function = match planned.function {
            Some(function) => function.to_owned(),
            None => wire_function(function),
        };
        let names = (planned.instance.clone(), function.clone());
        if !self.taken.insert(names) {
            let instance = planned.instance;
            self.warn(&format!(
                "another export is served as `{instance}.{function}` already, this one is not"
            ));
            return;
        }
        self.found.exports.push(Export(Arc::new(ExportInner {
            kind: planned.kind,
            instance: planned.instance,
            function: function.clone(),
            params: planned.params,
            index: self.found.plans.len(),
        })));
        self.found.plans.push(CallPlan {
            index,
            function,
            how: planned.how,
        });
    }

    fn http(&mut self, pre: &InstancePre<Ctx>) -> Result<(), PrepareError> {
        if self.found.http.is_some() {
            self.warn("a further version of `wasi:http/incoming-handler` is not served");
            return Ok(());
        }
        let plan = HttpPlan::new(pre.clone(), self.shared).map_err(PrepareError::Link)?;
        self.found.http = Some(plan);
        let (instance, function) = ("wrpc:http/incoming-handler@0.1.0", "handle");
        self.taken
            .insert((instance.to_owned(), function.to_owned()));
        self.found.exports.push(Export(Arc::new(ExportInner {
            kind: ExportKind::Http,
            instance: instance.to_owned(),
            function: function.to_owned(),
            params: Shape::new([]),
            // Beyond the table: `call` refuses it.
            index: usize::MAX,
        })));
        Ok(())
    }
}

struct Planned {
    kind: ExportKind,
    instance: String,
    /// The function on the wire, if it has another name there.
    function: Option<&'static str>,
    params: Shape,
    how: How,
}
