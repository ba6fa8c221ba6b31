//! The runtime: one engine, what it shares between components, and how components get into it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::{Component as Code, InstancePre, Linker};

use crate::cache::{CodeCache, CodeKeys};
use crate::compile::{self, SourceCounts};
use crate::component::{Component, Shared};
use crate::engine::{self, EngineChoices};
use crate::imports::{Forms, Log};
use crate::instance_pool::InstancePools;
use crate::store::Ctx;
use crate::ticker::Ticker;
use crate::value_room::ValueRoom;
use crate::{
    CodeSharing, CodeSources, ComponentOptions, HostEnv, Invoke, PrepareError, RuntimeConfig,
    RuntimeError, imports, memory_bytes, prepare,
};

/// One part in so many of all instances may wait for a further call.
const KEPT_SHARE: u32 = 4;

/// How many may look at once for code that is there already, which reads and hashes files.
const LOOKUPS: usize = 4;

/// How many components may be made of core modules at once.
const WRAPPINGS: usize = 2;

/// Runs components. Cloning is cheap; all clones are the same runtime.
#[derive(Clone)]
pub struct Runtime(Arc<RuntimeInner>);

pub(crate) struct RuntimeInner {
    pub(crate) engine: Engine,
    choices: EngineChoices,
    config: RuntimeConfig,
    ticker: Ticker,
    linker: Linker<Ctx>,
    pub(crate) keys: CodeKeys,
    pub(crate) cache: Option<CodeCache>,
    pub(crate) sharing: OnceLock<CodeSharing>,
    pub(crate) sources: SourceCounts,
    /// Code in use by the hash of its wasm, so that components made from one file share it.
    linked: Mutex<HashMap<Digest, Weak<Linked>>>,
    pub(crate) compilations: Arc<Semaphore>,
    /// For what looks for code that is there already, and is not to wait for what is compiled.
    pub(crate) lookups: Arc<Semaphore>,
    /// For what makes components of core modules, whose code may be there already: it takes too long to
    /// be among those that look, and not as long as to wait for what is compiled.
    pub(crate) wrappings: Arc<Semaphore>,
    pub(crate) value_room: ValueRoom,
    pools: InstancePools,
}

type Digest = [u8; 32];

/// Code and what it takes to make an instance of it. Nothing in it belongs to one component:
/// calls out of an instance find their component in its store.
pub(crate) struct Linked {
    pub(crate) code: Code,
    pub(crate) pre: InstancePre<Ctx>,
}

impl RuntimeInner {
    pub(crate) fn known(&self, digest: &Digest) -> Option<Arc<Linked>> {
        self.linked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(digest)?
            .upgrade()
    }

    pub(crate) fn remember(&self, digest: Digest, linked: &Arc<Linked>) {
        let mut known = self.linked.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, linked| linked.strong_count() > 0);
        known.insert(digest, Arc::downgrade(linked));
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The threads for guests that go on after their answer.
    pub(crate) fn long_work(&self) -> Option<&Handle> {
        self.config.long_work.as_ref()
    }

    pub(crate) fn ticker(&self) -> &Ticker {
        &self.ticker
    }

    pub(crate) fn pools(&self) -> &InstancePools {
        &self.pools
    }

    pub(crate) fn linker(&self) -> Linker<Ctx> {
        self.linker.clone()
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

impl Runtime {
    /// Sets up the engine, reserves the address space of all instances, and starts the thread
    /// that interrupts busy guests.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`] when a setting is invalid or the machine cannot provide for it. Limits
    /// are never dropped to make it work.
    pub fn new(config: RuntimeConfig) -> Result<Self, RuntimeError> {
        let (engine, choices) = engine::build(&config)?;
        tracing::debug!(
            pagemap_scan = choices.pagemap_scan,
            full_reservation = choices.full_reservation,
            instances = choices.instances,
            warm = choices.warm,
            "engine is set up"
        );
        if choices.instances < config.max_instances {
            tracing::warn!(
                wanted = config.max_instances,
                instances = choices.instances,
                "fewer instances may exist at once than were asked for: the machine's memory has no \
                 room for more"
            );
        }
        let mut linker = Linker::new(&engine);
        imports::link(&mut linker).map_err(RuntimeError::Linker)?;
        let dir = config.cache_dir.as_deref();
        let cache = dir.and_then(|dir| CodeCache::open_if_possible(dir, config.max_cache_bytes));
        Ok(Self(Arc::new(RuntimeInner {
            ticker: Ticker::start(&engine, config.tick)?,
            compilations: Arc::new(Semaphore::new(config.max_compilations)),
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
            wrappings: Arc::new(Semaphore::new(WRAPPINGS)),
            value_room: ValueRoom::new(memory_bytes()),
            pools: InstancePools::new(choices.instances.div_ceil(KEPT_SHARE) as usize),
            keys: CodeKeys::of(&engine),
            sharing: OnceLock::new(),
            sources: SourceCounts::default(),
            engine,
            choices,
            config,
            linker,
            cache,
            linked: Mutex::default(),
        })))
    }

    #[cfg(test)]
    pub(crate) fn inner(&self) -> &Arc<RuntimeInner> {
        &self.0
    }

    /// What the engine was built with.
    pub fn choices(&self) -> EngineChoices {
        self.0.choices
    }

    /// Shares compiled code with other hosts from now on. The first call counts; a second one
    /// changes nothing.
    pub fn share_code(&self, sharing: CodeSharing) {
        // Set already, as the doc says.
        let _second = self.0.sharing.set(sharing);
    }

    /// Where code came from so far.
    pub fn code_sources(&self) -> CodeSources {
        self.0.sources.now()
    }

    /// Makes a component that can be called out of the bytes of a component, or of a core module
    /// that says which interfaces it uses.
    ///
    /// Compiling happens on a thread of its own, or not at all when the code is known already.
    ///
    /// # Errors
    ///
    /// [`PrepareError`] says what is wrong with the bytes or with their imports.
    pub async fn prepare(
        &self,
        wasm: Bytes,
        options: ComponentOptions,
        invoke: Arc<dyn Invoke>,
        env: Arc<dyn HostEnv>,
    ) -> Result<Component, PrepareError> {
        prepare::check_size(&wasm, self.0.config.max_component_bytes)?;
        let linked = compile::link(&self.0, wasm).await?;
        let max_memory = options
            .max_memory_bytes
            .unwrap_or(self.0.config.max_memory_bytes);
        let largest = self.0.choices.largest_memory;
        if max_memory > largest {
            return Err(PrepareError::MemoryLimit {
                wanted: max_memory,
                largest,
            });
        }
        let cpu_ticks = options.cpu_budget.map(|budget| self.0.ticker.ticks(budget));
        let runtime = Arc::clone(&self.0);
        let log = Arc::new(Log::new(Arc::clone(&env)));
        let shared = Shared {
            runtime,
            options,
            invoke,
            env,
            max_memory: max_memory as usize,
            cpu_ticks,
            log,
            message_forms: Forms::default(),
        };
        // It looks at each export, of which there may be many, and this thread may serve others.
        let permit = Arc::clone(&self.0.lookups).acquire_owned().await;
        let permit = permit.map_err(|_| PrepareError::ShutDown)?;
        let made = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            Component::new(Arc::new(shared), linked)
        });
        made.await
            .unwrap_or_else(|error| match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(PrepareError::ShutDown),
            })
    }
}
