//! The engine: how instances get their memory, and how guests are kept from running away.

use std::num::NonZeroUsize;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::{RuntimeConfig, RuntimeError};

/// How many frames a backtrace has at most.
pub(crate) const MAX_FRAMES: usize = 32;

/// Address space reserved for each memory, so that code needs no bounds checks.
const FULL_RESERVATION: u64 = 4 << 30;

/// Stack for host functions on top of what guest code may use.
const HOST_STACK: usize = 1536 << 10;

/// How much of a memory stays resident for the next instance. With the page map scan only pages
/// that were touched cost anything, so it may be large; without it the whole of it is written
/// at each reset.
const KEEP_WITH_SCAN: usize = 2 << 20;
const KEEP_WITHOUT_SCAN: usize = 128 << 10;

/// What the engine was built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineChoices {
    /// The kernel's page map scan is in use.
    pub pagemap_scan: bool,
    /// Address space is reserved so that code needs no bounds checks.
    pub full_reservation: bool,
    /// The most memory that an instance can be given, in bytes: the address space reserved for one.
    pub largest_memory: u64,
}

/// Builds the engine, with less reserved address space when the machine does not give enough.
pub(crate) fn build(config: &RuntimeConfig) -> Result<(Engine, EngineChoices), RuntimeError> {
    check(config)?;
    let scan = config.use_pagemap_scan && PoolingAllocationConfig::is_pagemap_scan_available();
    let choices = EngineChoices {
        pagemap_scan: scan,
        full_reservation: true,
        largest_memory: FULL_RESERVATION,
    };
    let refused = match Engine::new(&settings(config, choices)) {
        Ok(engine) => return Ok((engine, choices)),
        Err(error) => error,
    };
    // The limits stay the same; only the code has to check bounds itself.
    tracing::warn!(
        error = %format_args!("{refused:#}"),
        "address space for {} instances cannot be reserved in full, guests will run slower",
        config.max_instances,
    );
    let choices = EngineChoices {
        full_reservation: false,
        largest_memory: config.max_memory_bytes,
        ..choices
    };
    let engine =
        Engine::new(&settings(config, choices)).map_err(|source| RuntimeError::Engine {
            instances: config.max_instances,
            memory: config.max_memory_bytes,
            source,
        })?;
    Ok((engine, choices))
}

fn check(config: &RuntimeConfig) -> Result<(), RuntimeError> {
    let refuse = |setting, why: &str| {
        Err(RuntimeError::Setting {
            setting,
            why: why.to_owned(),
        })
    };
    if config.max_instances == 0 {
        return refuse("max_instances", "it must be at least 1");
    }
    if config.max_memory_bytes < 64 << 10 || config.max_memory_bytes > FULL_RESERVATION {
        return refuse("max_memory_bytes", "it must be between 64 KiB and 4 GiB");
    }
    if config.tick.is_zero() {
        return refuse("tick", "it must be longer than zero");
    }
    if config.max_compilations == 0 {
        return refuse("max_compilations", "it must be at least 1");
    }
    Ok(())
}

fn settings(config: &RuntimeConfig, choices: EngineChoices) -> Config {
    let mut engine = Config::new();
    engine
        .wasm_component_model(true)
        .epoch_interruption(true)
        .memory_init_cow(true)
        .parallel_compilation(true)
        .wasm_backtrace_max_frames(NonZeroUsize::new(MAX_FRAMES))
        .max_wasm_stack(config.max_stack_bytes)
        .async_stack_size(config.max_stack_bytes + HOST_STACK)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(config, choices)));
    if !choices.full_reservation {
        engine
            .memory_reservation(config.max_memory_bytes)
            .memory_guard_size(64 << 10);
    }
    engine
}

fn pool(config: &RuntimeConfig, choices: EngineChoices) -> PoolingAllocationConfig {
    let keep = if choices.pagemap_scan {
        KEEP_WITH_SCAN
    } else {
        KEEP_WITHOUT_SCAN
    };
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(config.max_instances)
        .total_core_instances(config.max_instances.saturating_mul(4))
        .total_memories(config.max_instances)
        .total_tables(config.max_instances.saturating_mul(2))
        .total_stacks(config.max_instances)
        .max_core_instances_per_component(config.max_core_instances_per_component)
        .max_memories_per_component(config.max_memories_per_component)
        .max_tables_per_component(config.max_tables_per_component)
        .table_elements(config.max_table_elements as usize)
        .max_memory_size(choices.largest_memory as usize)
        .linear_memory_keep_resident(keep)
        .table_keep_resident(keep)
        .pagemap_scan(if choices.pagemap_scan {
            Enabled::Auto
        } else {
            Enabled::No
        });
    pool
}
