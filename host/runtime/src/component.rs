//! A component that can be called.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{Either, ready};
use tokio::time::timeout_at;
use wasmtime::{Store, Trap, WasmBacktrace};

use crate::backtrace;
use crate::call::CallPlan;
use crate::codec::MAX_PARTS;
use crate::engine::MAX_FRAMES;
use crate::exports;
use crate::http::HttpPlan;
use crate::imports::{Forms, Log};
use crate::instance::Seat;
use crate::instance_pool::InstancePool;
use crate::limits::{Meter, Metered, Stopped};
use crate::runtime::{Linked, RuntimeInner};
use crate::store::Ctx;
use crate::value_room::Full;
use crate::{
    CallContext, CallError, ComponentOptions, Export, HostEnv, HttpBody, HttpCallError,
    HttpResponse, Invoke, InvokeError, PrepareError, Reuse,
};

/// What the engine says of values that are too many. Its error has no type that could be asked for.
const TOO_MUCH: &str = "fuel allocated for hostcalls";

/// With how many functions in its whole backtrace a guest counts as recursive.
const FEW_FUNCTIONS: usize = 4;

/// What all calls of one component share.
pub(crate) struct Shared {
    pub(crate) runtime: Arc<RuntimeInner>,
    pub(crate) options: ComponentOptions,
    pub(crate) invoke: Arc<dyn Invoke>,
    pub(crate) env: Arc<dyn HostEnv>,
    pub(crate) max_memory: usize,
    pub(crate) cpu_ticks: Option<u64>,
    /// What all calls together log, and how much of it.
    pub(crate) log: Arc<Log>,
    /// In which form messages travel through the links.
    pub(crate) message_forms: Forms,
}

/// A compiled and linked component. Cloning is cheap.
///
/// Unless it asks for [`Reuse`] it holds no instance: each call makes its own and drops it
/// afterwards. Dropping the last clone ends what guests still do after having answered, and
/// retires the instances that wait for a call; calls under way keep a clone.
#[derive(Clone)]
pub struct Component(Arc<Inner>);

struct Inner {
    instance_pool: Arc<InstancePool>,
    linked: Arc<Linked>,
    exports: Vec<Export>,
    plans: Vec<CallPlan>,
    http: Option<HttpPlan>,
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("id", &self.0.instance_pool.shared().env.component_id())
            .field("exports", &self.0.exports.len())
            .finish_non_exhaustive()
    }
}

impl Component {
    pub(crate) fn new(shared: Arc<Shared>, linked: Arc<Linked>) -> Result<Self, PrepareError> {
        let found = exports::find(&shared, &linked.code, &linked.pre)?;
        Ok(Self(Arc::new(Inner {
            instance_pool: InstancePool::new(shared),
            linked,
            exports: found.exports,
            plans: found.plans,
            http: found.http,
        })))
    }

    /// What can be called, each function once.
    pub fn exports(&self) -> &[Export] {
        &self.0.exports
    }

    /// Changes whether and how instances serve further calls, from the next call on. Those that
    /// wait are retired; those in a call do not come back unless they began under a [`Reuse`].
    pub fn set_reuse(&self, reuse: Option<Reuse>) {
        self.0.instance_pool.set(reuse);
    }

    /// How many instances wait for a further call.
    pub fn kept_instances(&self) -> usize {
        self.0.instance_pool.len()
    }

    /// Calls an export with encoded parameters and returns the encoded results.
    ///
    /// The call runs in a new instance, which is gone when this returns or is dropped. With
    /// [`Reuse`] it may run in one that has served other calls, and that waits for the next one
    /// when this returns results.
    ///
    /// # Errors
    ///
    /// [`CallError`] says why there are no results.
    pub async fn call(
        &self,
        export: &Export,
        cx: CallContext,
        params: Bytes,
    ) -> Result<Bytes, CallError> {
        let plan = self.plan(export)?;
        let parts = plan.parts(export, &params)?;
        let deadline = cx.deadline;
        let room = &self.0.instance_pool.shared().runtime.value_room;
        // Before it takes an instance, of which a call that is refused has no need.
        let _room = room.take(parts).map_err(|Full| CallError::NoRoom)?;
        timeout_at(deadline, self.run(plan, cx, params))
            .await
            .unwrap_or(Err(CallError::Deadline))
    }

    /// Hands an HTTP request to the guest.
    ///
    /// Returns as soon as the guest has answered. When it has produced the whole body by then,
    /// the body is complete; otherwise the guest runs on while the body is read, and is ended
    /// when the body is dropped or the deadline passes.
    ///
    /// # Errors
    ///
    /// [`HttpCallError`] says why there is no response.
    pub fn handle_http(
        &self,
        cx: CallContext,
        request: http::Request<HttpBody>,
    ) -> impl Future<Output = Result<HttpResponse, HttpCallError>> + Send + use<> {
        let plan = self.0.http.as_ref().ok_or(HttpCallError::NotAHandler);
        match plan.and_then(|plan| plan.handle(&self.0.instance_pool, cx, request)) {
            Ok(exchange) => Either::Left(exchange),
            Err(error) => Either::Right(ready(Err(error))),
        }
    }

    fn plan(&self, export: &Export) -> Result<&CallPlan, CallError> {
        let own = self
            .0
            .exports
            .iter()
            .any(|known| Arc::ptr_eq(&known.0, &export.0));
        let plan = self.0.plans.get(export.0.index).filter(|_| own);
        plan.ok_or_else(|| CallError::WrongExport {
            function: export.function().to_owned(),
        })
    }

    async fn run(
        &self,
        plan: &CallPlan,
        cx: CallContext,
        params: Bytes,
    ) -> Result<Bytes, CallError> {
        let meter = meter(self.0.instance_pool.shared());
        let seat = Seat::take(&self.0.instance_pool, cx, &meter);
        let guest = async {
            let mut live = seat.instance(&self.0.linked.pre).await?;
            match plan.run(&mut live.store, &live.instance, params).await {
                Ok(results) => Ok((results, live.rest())),
                Err(error) => Err(classify(error, &live.store)),
            }
        };
        let (results, rested) = Metered::new(meter, guest).await?;
        if let Some(rested) = rested {
            rested.keep();
        }
        Ok(results)
    }
}

/// The meter of a new call.
pub(crate) fn meter(shared: &Shared) -> Arc<Meter> {
    Arc::new(Meter::new(
        shared.runtime.ticker().enter(),
        shared.cpu_ticks,
    ))
}

/// Finds out why a call ended without a value.
pub(crate) fn classify(error: wasmtime::Error, store: &Store<Ctx>) -> CallError {
    let error = match error.downcast::<CallError>() {
        Ok(own) => return own,
        Err(other) => other,
    };
    let error = match error.downcast::<InvokeError>() {
        Ok(failed) => return CallError::Import(failed),
        Err(other) => other,
    };
    let options = &store.data().shared().options;
    if let Some(stopped) = error.downcast_ref::<Stopped>() {
        return match stopped {
            Stopped::CpuBudget => CallError::CpuBudget {
                budget: options.cpu_budget.unwrap_or_default(),
            },
            Stopped::Deadline => CallError::Deadline,
        };
    }
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return CallError::Exit { code: exit.0 };
    }
    if error
        .downcast_ref::<wasmtime::PoolConcurrencyLimitError>()
        .is_some()
    {
        return CallError::NoRoom;
    }
    if is_stack_overflow(&error) {
        return CallError::StackOverflow;
    }
    // A guest that is refused memory mostly gives up with a trap of its own.
    if let Some((wanted, limit)) = store.data().memory.denied() {
        return CallError::Memory { wanted, limit };
    }
    trap(&error)
}

/// Whether the guest ran out of stack: that of the engine, or the part of it that compilers keep
/// in the guest's own memory. Of the latter the engine only sees an access out of bounds, at
/// the end of a long row of calls among a few functions.
fn is_stack_overflow(error: &wasmtime::Error) -> bool {
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => true,
        Some(Trap::MemoryOutOfBounds) => {
            let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
                return false;
            };
            let frames = backtrace.frames();
            let functions: HashSet<u32> = frames.iter().map(|f| f.func_index()).collect();
            frames.len() == MAX_FRAMES && functions.len() <= FEW_FUNCTIONS
        }
        _ => false,
    }
}

fn trap(error: &wasmtime::Error) -> CallError {
    let trace = error.downcast_ref::<WasmBacktrace>();
    let raw = trace.map(ToString::to_string);
    let mut message = error
        .chain()
        .map(ToString::to_string)
        // The backtrace is the outermost context; it has a place of its own.
        .filter(|text| Some(text) != raw.as_ref())
        .collect::<Vec<_>>()
        .join(": ");
    if message.contains(TOO_MUCH) {
        message = format!(
            "a call passes values of more than about {MAX_PARTS} parts, of which each byte of a `list<u8>` \
             within a record, option or variant is one; pass such bytes in several calls: {message}"
        );
    }
    CallError::Trap {
        message,
        backtrace: trace.map(backtrace::text).unwrap_or_default(),
    }
}
