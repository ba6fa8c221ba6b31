//! The engine: how instances get their memory, and how guests are kept from running away.

use std::num::NonZeroUsize;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::machine::memory_bytes;
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

/// The part of the machine's memory that instances which have ended may keep for the next ones.
const WARM_SHARE: u64 = 32;

/// The least that an instance takes while it runs: its stack, the first pages of its memory, and
/// its store. More of them than the machine has room for are not worth a place in the pool.
const LEAST_INSTANCE: u64 = 64 << 10;

/// What the engine was built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineChoices {
    /// The kernel's page map scan is in use.
    pub pagemap_scan: bool,
    /// Address space is reserved so that code needs no bounds checks.
    pub full_reservation: bool,
    /// The most memory that an instance can be given, in bytes: the address space reserved for one.
    pub largest_memory: u64,
    /// How many instances may exist at the same time: what was asked for, or what fits into the
    /// memory of a small machine.
    pub instances: u32,
    /// How many ended instances keep their memory for the next of the same component.
    pub warm: u32,
}

/// Builds the engine, with less reserved address space when the machine does not give enough.
pub(crate) fn build(config: &RuntimeConfig) -> Result<(Engine, EngineChoices), RuntimeError> {
    check(config)?;
    let scan = config.use_pagemap_scan && PoolingAllocationConfig::is_pagemap_scan_available();
    let (instances, warm) = sizes(config.max_instances, memory_bytes(), keep_resident(scan));
    let choices = EngineChoices {
        pagemap_scan: scan,
        full_reservation: true,
        largest_memory: FULL_RESERVATION,
        instances,
        warm,
    };
    let refused = match Engine::new(&settings(config, choices)) {
        Ok(engine) => return Ok((engine, choices)),
        Err(error) => error,
    };
    // The limits stay the same; only the code has to check bounds itself.
    tracing::warn!(
        error = %format_args!("{refused:#}"),
        "address space for {} instances cannot be reserved in full, guests will run slower",
        choices.instances,
    );
    let choices = EngineChoices {
        full_reservation: false,
        largest_memory: config.max_memory_bytes,
        ..choices
    };
    let engine =
        Engine::new(&settings(config, choices)).map_err(|source| RuntimeError::Engine {
            instances: choices.instances,
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

/// How much of its memory an ended instance keeps, in bytes.
fn keep_resident(scan: bool) -> usize {
    if scan {
        KEEP_WITH_SCAN
    } else {
        KEEP_WITHOUT_SCAN
    }
}

/// How many instances the pool has room for, and how many of those that have ended stay warm, on
/// a machine with so many bytes of memory.
fn sizes(wanted: u32, memory: u64, keep: usize) -> (u32, u32) {
    let fitting = u32::try_from(memory / LEAST_INSTANCE).unwrap_or(u32::MAX);
    let instances = wanted.min(fitting.max(1));
    let warm = memory / WARM_SHARE / keep as u64;
    let warm = u32::try_from(warm).unwrap_or(u32::MAX).max(4);
    (instances, warm.min(instances))
}

fn pool(config: &RuntimeConfig, choices: EngineChoices) -> PoolingAllocationConfig {
    let keep = keep_resident(choices.pagemap_scan);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(choices.instances)
        // They are only counted, and have no place of their own in the pool.
        .total_core_instances(
            choices
                .instances
                .saturating_mul(config.max_core_instances_per_component),
        )
        .total_memories(choices.instances)
        .total_tables(choices.instances.saturating_mul(2))
        .total_stacks(choices.instances)
        .max_unused_warm_slots(choices.warm)
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

#[cfg(test)]
mod tests {
    use wasmtime::Store;
    use wasmtime::component::{Component, Linker};

    use super::*;

    #[tokio::test]
    async fn an_instance_of_as_many_modules_as_it_may_have_takes_the_room_of_one() {
        let config = RuntimeConfig {
            max_instances: 2,
            max_memory_bytes: 1 << 20,
            ..RuntimeConfig::default()
        };
        let (engine, choices) = build(&config).unwrap();
        let modules = "(core instance (instantiate $m))"
            .repeat(config.max_core_instances_per_component as usize);
        let text = format!("(component (core module $m) {modules})");
        let component = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
        let linker = Linker::new(&engine);
        let mut stores = Vec::new();
        for _ in 0..choices.instances {
            let mut store = Store::new(&engine, ());
            linker
                .instantiate_async(&mut store, &component)
                .await
                .unwrap();
            stores.push(store);
        }
        assert_eq!(stores.len(), 2);
    }

    #[test]
    fn a_large_machine_gives_what_is_asked_for_and_keeps_more_warm() {
        assert_eq!(sizes(10_000, 24 << 30, KEEP_WITH_SCAN), (10_000, 384));
        assert_eq!(sizes(100, 24 << 30, KEEP_WITH_SCAN), (100, 100));
    }

    #[test]
    fn a_small_machine_keeps_no_more_than_its_share() {
        let (instances, warm) = sizes(10_000, 256 << 20, KEEP_WITH_SCAN);
        assert_eq!((instances, warm), (4096, 4));
        let (_, without_scan) = sizes(10_000, 256 << 20, KEEP_WITHOUT_SCAN);
        assert_eq!(without_scan, 64);
    }
}
