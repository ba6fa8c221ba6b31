//! The store of one call: what the host functions see.

use std::any::Any;
use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::component::Shared;
use crate::imports::{Budget, LOG_PER_CALL};
use crate::limits::{MemoryLimit, Meter, watch};
use crate::outbound::Outbound;
use crate::stderr::StderrLog;
use crate::{CallContext, HostEnv};

/// How many host resources one instance may hold at a time. With [`MAX_FIELDS`] it bounds what a
/// guest makes the host keep beside its own memory.
const MAX_RESOURCES: usize = 4096;

/// How large one set of header fields may be, in bytes.
const MAX_FIELDS: usize = 64 << 10;

/// How many random bytes a guest gets at once. Making them cannot be interrupted.
const MAX_RANDOM: u64 = 1 << 20;

/// The data of a store. It lives for one call.
pub(crate) struct Ctx {
    pub(crate) table: ResourceTable,
    pub(crate) outbound: Outbound,
    pub(crate) memory: MemoryLimit,
    /// How much the call may still log.
    pub(crate) log_bytes: usize,
    /// What the values that the guest writes may hold; made with the first of them.
    writing: Option<Budget>,
    meter: Arc<Meter>,
    shared: Arc<Shared>,
    /// Made when the guest first asks for something of it, which many never do.
    wasi: Option<WasiCtx>,
    http: WasiHttpCtx,
    // Last, so that a permit is given back after everything else.
    _hold: Option<Box<dyn Any + Send + Sync>>,
}

impl Ctx {
    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    pub(crate) fn writing(&mut self) -> Budget {
        let limit = self.shared.options.max_buffered_bytes;
        let budget = || Budget::new(limit);
        self.writing.get_or_insert_with(budget).clone()
    }

    pub(crate) fn env(&self) -> &dyn HostEnv {
        &*self.shared.env
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// Makes the store for one call.
pub(crate) fn new_store(
    shared: &Arc<Shared>,
    mut cx: CallContext,
    meter: &Arc<Meter>,
) -> Store<Ctx> {
    let hold = cx.hold.take();
    let deadline = cx.deadline;
    let mut table = ResourceTable::new();
    table.set_max_capacity(MAX_RESOURCES);
    let mut http = WasiHttpCtx::new();
    http.set_field_size_limit(MAX_FIELDS);
    let mut store = Store::new(
        shared.runtime.engine(),
        Ctx {
            table,
            outbound: Outbound::new(Arc::clone(&shared.invoke), cx, meter),
            memory: MemoryLimit::new(shared.max_memory),
            log_bytes: LOG_PER_CALL,
            writing: None,
            meter: Arc::clone(meter),
            shared: Arc::clone(shared),
            wasi: None,
            http,
            _hold: hold,
        },
    );
    store.limiter(|ctx| &mut ctx.memory);
    watch(&mut store, deadline);
    store
}

/// No directories, no sockets, no environment; what is written to stderr is logged.
fn new_wasi(shared: &Shared) -> WasiCtx {
    let stderr = StderrLog::new(Arc::clone(&shared.env), shared.options.stderr_bytes);
    WasiCtxBuilder::new()
        .arg("main.wasm")
        .stderr(stderr)
        .max_random_size(MAX_RANDOM)
        .build()
}

impl WasiView for Ctx {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let shared = &self.shared;
        WasiCtxView {
            ctx: self.wasi.get_or_insert_with(|| new_wasi(shared)),
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Ctx {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.outbound,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}
