//! An instance of a component, from its first call to its last.

use std::sync::{Arc, Weak};

use wasmtime::component::{Instance, InstancePre, Resource};
use wasmtime::{PoolConcurrencyLimitError, Store};
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyIndices};
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};

use crate::component::classify;
use crate::instance_pool::{InstancePool, Share};
use crate::limits::Meter;
use crate::store::{Ctx, Hold, new_store, renewed};
use crate::{CallContext, CallError};

/// Where a call runs: in an instance that waited for it, or in one that is still to be made.
pub(crate) enum Seat {
    New {
        store: Store<Ctx>,
        /// Where the instance goes after the call; nowhere if it is not to serve another.
        home: Weak<InstancePool>,
    },
    Kept(LiveInstance),
}

impl Seat {
    /// Begins a call of the component that `instance_pool` belongs to.
    pub(crate) fn take(
        instance_pool: &Arc<InstancePool>,
        cx: CallContext,
        meter: &Arc<Meter>,
    ) -> Self {
        let kept = instance_pool.is_open().then(|| instance_pool.take());
        if let Some(Some(mut kept)) = kept {
            kept.begin_call(cx, meter);
            return Self::Kept(kept);
        }
        Self::New {
            store: new_store(instance_pool.shared(), cx, meter),
            home: kept.map_or_else(Weak::new, |_| Arc::downgrade(instance_pool)),
        }
    }

    /// What the host functions will see.
    pub(crate) fn data_mut(&mut self) -> &mut Ctx {
        match self {
            Self::New { store, .. } => store.data_mut(),
            Self::Kept(kept) => kept.store.data_mut(),
        }
    }

    /// Makes the instance if there is none yet. Where there is no room for one, those that only
    /// wait give way: first the half that was used longest ago, then all of them.
    pub(crate) async fn instance(self, pre: &InstancePre<Ctx>) -> Result<LiveInstance, CallError> {
        let (mut store, home) = match self {
            Self::New { store, home } => (store, home),
            Self::Kept(kept) => return Ok(kept),
        };
        let mut shares = [Share::Half, Share::All].into_iter();
        loop {
            let error = match pre.instantiate_async(&mut store).await {
                Ok(instance) => return Ok(LiveInstance::new(store, instance, home)),
                Err(error) => error,
            };
            let full = error.downcast_ref::<PoolConcurrencyLimitError>().is_some();
            let pools = store.data().shared().runtime.pools();
            match shares.next().filter(|_| full) {
                // The store may hold a part of the instance, which takes room as well.
                Some(share) if pools.make_room(share) => store = renewed(store),
                _ => return Err(classify(error, &store)),
            }
        }
    }
}

/// An instance and the store it lives in. Dropping it ends the guest, also in mid-call.
pub(crate) struct LiveInstance {
    pub(crate) store: Store<Ctx>,
    pub(crate) instance: Instance,
    /// Made with the first HTTP request.
    proxy: Option<Proxy>,
    /// How many calls it has ended well.
    uses: u32,
    home: Weak<InstancePool>,
}

impl LiveInstance {
    fn new(store: Store<Ctx>, instance: Instance, home: Weak<InstancePool>) -> Self {
        Self {
            store,
            instance,
            proxy: None,
            uses: 0,
            home,
        }
    }

    fn begin_call(&mut self, cx: CallContext, meter: &Arc<Meter>) {
        self.store.data_mut().begin_call(cx, meter);
        self.store.set_epoch_deadline(1);
    }

    /// Hands over a request and waits until the guest's function returns.
    pub(crate) async fn handle_http(
        &mut self,
        indices: &ProxyIndices,
        request: Resource<HostIncomingRequest>,
        outparam: Resource<HostResponseOutparam>,
    ) -> wasmtime::Result<()> {
        let proxy = match &mut self.proxy {
            Some(proxy) => proxy,
            none => none.insert(indices.load(&mut self.store, &self.instance)?),
        };
        proxy
            .wasi_http_incoming_handler()
            .call_handle(&mut self.store, request, outparam)
            .await
    }

    pub(crate) fn uses(&self) -> u32 {
        self.uses
    }

    /// How much memory it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.store.data().memory.used()
    }

    /// Whether the next call would have as much memory left as this one took.
    pub(crate) fn has_room(&self) -> bool {
        self.store.data().memory.has_room()
    }

    /// Ends a call that went well. The instance is retired, here and now, unless it may serve
    /// another one.
    pub(crate) fn rest(mut self) -> Option<Rested> {
        self.store.data_mut().end_bodies();
        let home = self.home.upgrade()?;
        self.uses = self.uses.saturating_add(1);
        let cx = self.store.data_mut();
        let hold = cx.end_call();
        // A handle that the guest keeps would reach into this call from the next one, and one
        // that the host takes away would trap a guest that only means to drop it.
        let left = cx.left_behind();
        let rested = Rested {
            instance: self,
            home,
            hold,
        };
        if left > 0 {
            rested.home.tell_left_behind(left);
            return None;
        }
        Some(rested)
    }
}

/// An instance whose call has ended well.
pub(crate) struct Rested {
    instance: LiveInstance,
    home: Arc<InstancePool>,
    // Last, so that a permit is given back after everything else.
    hold: Hold,
}

impl Rested {
    /// Lets the instance wait for the next call.
    pub(crate) fn keep(self) {
        let Self {
            instance,
            home,
            hold,
        } = self;
        home.put(instance);
        // Whoever gets the permit finds the instance waiting.
        drop(hold);
    }
}
