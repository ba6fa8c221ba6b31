//! Settings of the runtime and of a component.

use std::path::PathBuf;
use std::time::Duration;

use tokio::runtime::Handle;

/// Settings of a [`Runtime`](crate::Runtime), fixed at start.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Where compiled code is kept between runs. `None` compiles at each start.
    pub cache_dir: Option<PathBuf>,
    /// How much the folder of compiled code may hold; the files used longest ago go first.
    pub max_cache_bytes: u64,
    /// The most linear memory and table space that one instance may have, in bytes, unless its
    /// component is given another limit with [`ComponentOptions::max_memory_bytes`].
    pub max_memory_bytes: u64,
    /// The largest wasm file that is accepted, in bytes.
    pub max_component_bytes: u64,
    /// How many instances may exist at the same time, over all components.
    pub max_instances: u32,
    /// How many core instances one component instance may consist of.
    pub max_core_instances_per_component: u32,
    /// How many linear memories one component instance may have.
    pub max_memories_per_component: u32,
    /// How many tables one component instance may have.
    pub max_tables_per_component: u32,
    /// How many elements one table may have.
    pub max_table_elements: u32,
    /// How much stack guest code may use, in bytes.
    pub max_stack_bytes: usize,
    /// How often a busy guest is interrupted to let others run.
    pub tick: Duration,
    /// How many components are compiled at the same time.
    pub max_compilations: usize,
    /// Whether to use the kernel's page map scan when it has one. Only turned off in tests and
    /// comparisons.
    pub use_pagemap_scan: bool,
    /// The threads for guests that go on after their answer. `None`: those of their call.
    pub long_work: Option<Handle>,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            cache_dir: None,
            max_cache_bytes: 1 << 30,
            max_memory_bytes: 256 << 20,
            max_component_bytes: 50 << 20,
            max_instances: 1000,
            max_core_instances_per_component: 30,
            max_memories_per_component: 8,
            max_tables_per_component: 20,
            max_table_elements: 15_000,
            max_stack_bytes: 512 << 10,
            tick: Duration::from_millis(5),
            max_compilations: 1,
            use_pagemap_scan: true,
            long_work: None,
        }
    }
}

/// Settings of one component.
#[derive(Debug, Clone)]
pub struct ComponentOptions {
    /// The most linear memory and table space that one instance may have, in bytes. `None` stands
    /// for [`RuntimeConfig::max_memory_bytes`]; it may be more than that, up to
    /// [`EngineChoices::largest_memory`](crate::EngineChoices::largest_memory).
    pub max_memory_bytes: Option<u64>,
    /// How long one call may keep a worker thread busy. Time spent waiting does not count.
    /// `None` leaves the deadline of the call as the only bound.
    pub cpu_budget: Option<Duration>,
    /// How much of what one call writes to its standard error is kept, in bytes.
    pub stderr_bytes: usize,
    /// How many bytes a blob or a body may have that has to be collected in memory of the host
    /// for the guest.
    pub max_buffered_bytes: usize,
    /// Whether an instance may serve further calls after its first. `None` gives each call an
    /// instance of its own, so that nothing a guest keeps in memory reaches another call.
    pub reuse: Option<Reuse>,
}

impl Default for ComponentOptions {
    fn default() -> Self {
        Self {
            max_memory_bytes: None,
            cpu_budget: None,
            stderr_bytes: 16 << 10,
            max_buffered_bytes: 64 << 20,
            reuse: None,
        }
    }
}

/// How instances of a component serve one call after the other.
///
/// An instance has one call at a time. After one that ended well it waits for the next; after any
/// other it is retired. What a guest keeps in its memory is there for the next call; whatever the
/// host gives to a call (links it chose, budgets, deadline, handles) is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reuse {
    /// After how many calls an instance is retired.
    pub max_uses: u32,
    /// How long an instance may wait for its next call.
    pub max_idle: Duration,
    /// How many instances of the component may wait at the same time.
    pub max_kept: usize,
    /// With how much linear memory and table space an instance may wait, in bytes. One that has
    /// taken more than half of what it may have at all is retired in any case, so that the next
    /// call does not fail for want of memory.
    pub max_kept_bytes: usize,
}

impl Default for Reuse {
    fn default() -> Self {
        Self {
            max_uses: 128,
            max_idle: Duration::from_secs(10),
            max_kept: 32,
            max_kept_bytes: 64 << 20,
        }
    }
}
