//! The store of an instance: what the host functions see, and what of it belongs to one call.

use std::any::Any;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use tokio::time::Instant;
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store};
use wasmtime_wasi::clocks::MonotonicClock;
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::{HostMonotonicClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::codec::MAX_PARTS;
use crate::component::Shared;
use crate::imports::{Budget, CallName, LOG_PER_CALL};
use crate::limits::{MemoryLimit, Meter, watch};
use crate::outbound::Outbound;
use crate::stdio::Stdio;
use crate::{CallContext, HostEnv};

/// How many host resources one instance may hold at a time. With [`MAX_FIELDS`] it bounds what a
/// guest makes the host keep beside its own memory.
const MAX_RESOURCES: usize = 4096;

/// How large one set of header fields may be, in bytes.
const MAX_FIELDS: usize = 64 << 10;

/// What the values may take that a guest passes on in one call: as many parts as a peer may answer with,
/// and their names. The engine counts it in bytes while it makes them.
const MAX_PASSED: usize = MAX_PARTS * 48;

/// How many random bytes a guest gets at once. Making them cannot be interrupted.
const MAX_RANDOM: u64 = 1 << 20;

/// How many handles of its standard streams an instance may keep between two calls, and how many
/// for waiting for them.
const MAX_STREAMS: usize = 8;

/// Guest code runs between `begin_call` and `end_call` only.
const IN_CALL: &str = "host functions are called by a guest, which runs in a call";

/// A permit, or whatever else is to live as long as a call.
pub(crate) type Hold = Option<Box<dyn Any + Send + Sync>>;

/// The data of a store. It lives as long as the instance.
pub(crate) struct Ctx {
    pub(crate) table: ResourceTable,
    pub(crate) memory: MemoryLimit,
    shared: Arc<Shared>,
    /// Made when the guest first asks for something of WASI, which many never do.
    stdio: Option<Stdio>,
    http: WasiHttpCtx,
    // Last, so that a permit is given back after everything else.
    call: Option<Call>,
}

/// What belongs to one call. The next one of the same instance gets all of it anew.
struct Call {
    outbound: Outbound,
    /// Tells it from others in the log.
    number: u64,
    /// How much the call may still log.
    log_bytes: usize,
    /// What the values that the guest writes may hold; made with the first of them.
    writing: Option<Budget>,
    meter: Arc<Meter>,
    wasi: Option<WasiCtx>,
    hold: Hold,
}

impl Call {
    fn name(&self) -> CallName {
        CallName::new(self.number, self.outbound.context().trace.as_ref())
    }
}

impl Ctx {
    fn new(shared: &Arc<Shared>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_FIELDS);
        Self {
            table,
            memory: MemoryLimit::new(shared.max_memory),
            shared: Arc::clone(shared),
            stdio: None,
            http,
            call: None,
        }
    }

    /// Begins a call.
    pub(crate) fn begin_call(&mut self, mut cx: CallContext, meter: &Arc<Meter>) {
        let hold = cx.hold.take();
        // What earlier calls had to leave out of the log, if it was not time to tell then.
        self.shared.log.tell();
        self.memory.begin_call();
        let call = Call {
            outbound: Outbound::new(Arc::clone(&self.shared.invoke), cx, meter),
            number: next_number(),
            log_bytes: LOG_PER_CALL,
            writing: None,
            meter: Arc::clone(meter),
            wasi: None,
            hold,
        };
        if let Some(stdio) = &self.stdio {
            stdio.begin_call(call.name());
        }
        self.call = Some(call);
    }

    /// Ends the call, and returns what is to be dropped as the last of it.
    pub(crate) fn end_call(&mut self) -> Hold {
        let call = self.call.take()?;
        if let Some(stdio) = &self.stdio {
            stdio.end_call();
        }
        self.shared.log.tell();
        call.hold
    }

    /// Ends the bodies that the guest has begun and left without an end. One that has not got all the
    /// bytes that its `content-length` tells breaks off; without this it would look whole.
    pub(crate) fn end_bodies(&mut self) {
        for body in self.open_bodies() {
            // The reader is told of a mismatch, the guest is not there any more to be told.
            body.finish(None).ok();
        }
    }

    /// Takes the bodies that have no end yet.
    fn open_bodies(&mut self) -> impl Iterator<Item = HostOutgoingBody> {
        let entries = self.table.iter_mut();
        let bodies = entries.filter_map(|entry| entry.downcast_mut::<HostOutgoingBody>());
        bodies.map(|body| {
            let (nothing, _) = HostOutgoingBody::new(StreamContext::Response, None, 1, 1);
            std::mem::replace(body, nothing)
        })
    }

    /// How many resources the guest still holds between two calls, apart from its standard
    /// streams, which C libraries keep for as long as they live.
    pub(crate) fn left_behind(&mut self) -> usize {
        let (mut waits, mut held) = (0_usize, 0_usize);
        for entry in self.table.iter_mut() {
            // What is waited for is in the table as well, so that it need not be known here.
            let count = if entry.is::<DynPollable>() {
                &mut waits
            } else {
                &mut held
            };
            *count += 1;
        }
        let streams = self.stdio.as_ref().map_or(0, Stdio::handles);
        held.saturating_sub(streams.min(MAX_STREAMS)) + waits.saturating_sub(MAX_STREAMS)
    }

    fn call(&self) -> &Call {
        self.call.as_ref().expect(IN_CALL)
    }

    fn call_mut(&mut self) -> &mut Call {
        self.call.as_mut().expect(IN_CALL)
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.call().meter
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.outbound().context().deadline
    }

    pub(crate) fn outbound(&self) -> &Outbound {
        &self.call().outbound
    }

    pub(crate) fn outbound_mut(&mut self) -> &mut Outbound {
        &mut self.call_mut().outbound
    }

    /// Counts what the guest logs; false when the call has logged enough.
    pub(crate) fn may_log(&mut self, bytes: usize) -> bool {
        let left = &mut self.call_mut().log_bytes;
        let more = left.checked_sub(bytes);
        *left = more.unwrap_or(*left);
        more.is_some()
    }

    /// What the log calls this call.
    pub(crate) fn call_name(&self) -> CallName {
        self.call().name()
    }

    pub(crate) fn writing(&mut self) -> Budget {
        let limit = self.shared.options.max_buffered_bytes;
        let budget = || Budget::new(limit);
        self.call_mut().writing.get_or_insert_with(budget).clone()
    }

    pub(crate) fn env(&self) -> &dyn HostEnv {
        &*self.shared.env
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Ctx {
    /// A guest that traps, or whose time is over, has bodies under way that are not all it meant to write.
    /// Without this they would look whole. After a call that went well there are none.
    fn drop(&mut self) {
        self.open_bodies().for_each(HostOutgoingBody::abort);
    }
}

/// A number that no other call of this process has, and hardly one of another process.
fn next_number() -> u64 {
    static BASE: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0));
    static COUNT: AtomicU64 = AtomicU64::new(0);
    BASE.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Makes a store whose first call begins.
pub(crate) fn new_store(shared: &Arc<Shared>, cx: CallContext, meter: &Arc<Meter>) -> Store<Ctx> {
    let mut ctx = Ctx::new(shared);
    ctx.begin_call(cx, meter);
    store_of(shared.runtime.engine(), ctx)
}

/// Puts the data of a store, without the instance that it may hold a part of, into another one.
pub(crate) fn renewed(store: Store<Ctx>) -> Store<Ctx> {
    let engine = store.engine().clone();
    let mut ctx = store.into_data();
    ctx.memory = MemoryLimit::new(ctx.shared.max_memory);
    store_of(&engine, ctx)
}

fn store_of(engine: &Engine, ctx: Ctx) -> Store<Ctx> {
    let mut store = Store::new(engine, ctx);
    store.set_hostcall_fuel(MAX_PASSED);
    store.limiter(|ctx| &mut ctx.memory);
    watch(&mut store);
    store
}

/// The clock of all calls: each one has a WASI context of its own, and an instance that serves several
/// of them is not to see time go back.
struct Clock;

static CLOCK: LazyLock<MonotonicClock> = LazyLock::new(MonotonicClock::new);

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        CLOCK.resolution()
    }

    fn now(&self) -> u64 {
        CLOCK.now()
    }
}

/// No directories, no sockets, no environment, and streams that say nothing but errors.
fn new_wasi(stdio: &Stdio) -> WasiCtx {
    let mut wasi = WasiCtxBuilder::new();
    wasi.arg("main.wasm")
        .max_random_size(MAX_RANDOM)
        .monotonic_clock(Clock);
    stdio.connect(&mut wasi);
    wasi.build()
}

impl WasiView for Ctx {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let shared = &self.shared;
        let call = self.call.as_mut().expect(IN_CALL);
        let stdio = self.stdio.get_or_insert_with(|| {
            let stdio = Stdio::new(Arc::clone(&shared.log), shared.options.stderr_bytes);
            stdio.begin_call(call.name());
            stdio
        });
        WasiCtxView {
            ctx: call.wasi.get_or_insert_with(|| new_wasi(stdio)),
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Ctx {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let call = self.call.as_mut().expect(IN_CALL);
        WasiHttpCtxView {
            hooks: &mut call.outbound,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}
