//! From bytes to code that is linked: compiled here, or found where it was compiled before.
//!
//! Looked at in turn are the code in use, the folder of this machine and what other hosts share;
//! then it is compiled. Threads that are busy take one of a few permits: those that compile, those that make
//! components of core modules and those that look each have their own; what waits for a file or for the
//! network takes none.

mod slow;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lattice_claims::SigningKey;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;
use tokio::time::{Instant, timeout};
use wasmtime::component::Component as Code;

use self::slow::Slow;
use crate::cache::{CodeKey, Turn, signed, trusted};
use crate::runtime::{Linked, RuntimeInner};
use crate::sharing::{CodeName, CodeOffer};
use crate::{CodeSharing, PrepareError, dynamic, prepare};

/// How much later code may be ready because other hosts might have it. Most of what is worth
/// sharing takes longer to compile.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often code came from where, since the start of a runtime. Code that was in use already is
/// not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CodeSources {
    /// Compiled here.
    pub compiled: u64,
    /// Read from the folder of this machine.
    pub from_disk: u64,
    /// Taken over from another host.
    pub from_lattice: u64,
}

/// What compiling leaves behind for the next time: counts, and which files took too long.
#[derive(Debug, Default)]
pub(crate) struct SourceCounts {
    slow: Slow,
    compiled: AtomicU64,
    from_disk: AtomicU64,
    from_lattice: AtomicU64,
}

impl SourceCounts {
    pub(crate) fn now(&self) -> CodeSources {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CodeSources {
            compiled: count(&self.compiled),
            from_disk: count(&self.from_disk),
            from_lattice: count(&self.from_lattice),
        }
    }
}

/// A component whose code is not in use yet.
struct Wanted {
    /// The hash of the bytes as they came.
    digest: [u8; 32],
    /// The bytes of a component.
    wasm: Bytes,
    key: CodeKey,
}

enum Found {
    Linked(Arc<Linked>),
    Nothing(Wanted),
    /// Nothing, and it is a core module, with this hash: to make a component of it takes a while.
    Module([u8; 32]),
}

/// Makes code out of the bytes of a component or of a core module, and links it.
pub(crate) async fn link(
    runtime: &Arc<RuntimeInner>,
    wasm: Bytes,
) -> Result<Arc<Linked>, PrepareError> {
    let lookups = &runtime.lookups;
    let bytes = wasm.clone();
    let found = busy(runtime, lookups, move |runtime| look_up(runtime, &bytes)).await?;
    let wanted = match found {
        Found::Linked(linked) => return Ok(linked),
        Found::Nothing(wanted) => wanted,
        Found::Module(digest) => {
            let wrapped = move |runtime: &RuntimeInner| wrap(runtime, digest, &wasm);
            busy(runtime, &runtime.wrappings, wrapped).await?
        }
    };
    let key = wanted.key;
    let turn = match &runtime.cache {
        Some(cache) => cache.turn(key).await,
        None => None,
    };
    // Somebody may have stored it while we waited, or just before.
    let is_kept = runtime
        .cache
        .as_ref()
        .is_some_and(|cache| kept_under(runtime, key).any(|key| cache.has(key)));
    let shared = match runtime.sharing.get() {
        Some(sharing) if !is_kept => of_others(sharing, key).await,
        _ => None,
    };
    let found = busy(runtime, lookups, move |runtime| {
        let linked = at_hand(runtime, &wanted, shared.as_ref())?;
        Ok(linked.ok_or(wanted))
    });
    let wanted = match found.await? {
        Ok(linked) => return Ok(linked),
        Err(wanted) => wanted,
    };
    let digest = wanted.digest;
    let work = move |runtime: &RuntimeInner| make(runtime, &wanted, turn.as_ref());
    runtime.sources.slow.check(&digest)?;
    let permit = permit(&runtime.compilations).await?;
    // It may be the very file that this one waited for.
    runtime.sources.slow.check(&digest)?;
    slow::compile(runtime, digest, permit, slow::WITHIN, work).await
}

/// Does what keeps a thread busy, on a thread of its own and when there is a permit.
async fn busy<T: Send + 'static>(
    runtime: &Arc<RuntimeInner>,
    permits: &Arc<Semaphore>,
    work: impl FnOnce(&RuntimeInner) -> Result<T, PrepareError> + Send + 'static,
) -> Result<T, PrepareError> {
    let permit = permit(permits).await?;
    let runtime = Arc::clone(runtime);
    let done = tokio::task::spawn_blocking(move || {
        // Held by the thread and not by the caller, who may go away while it works.
        let _permit = permit;
        work(&runtime)
    });
    done.await.unwrap_or_else(|error| Err(failed(&error)))
}

async fn permit(permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, PrepareError> {
    let permit = Arc::clone(permits).acquire_owned().await;
    permit.map_err(|_| PrepareError::ShutDown)
}

/// Why a thread ended without an outcome.
fn failed(error: &JoinError) -> PrepareError {
    if !error.is_panic() {
        return PrepareError::ShutDown;
    }
    // No bytes may bring the host down, not even those that confuse the compiler.
    PrepareError::Compile(wasmtime::Error::msg("the compiler gave up with a panic"))
}

fn look_up(runtime: &RuntimeInner, wasm: &Bytes) -> Result<Found, PrepareError> {
    let digest = Sha256::digest(wasm).into();
    if let Some(known) = runtime.known(&digest) {
        return Ok(Found::Linked(known));
    }
    if !prepare::is_component(wasm)? {
        return Ok(Found::Module(digest));
    }
    let wanted = Wanted {
        digest,
        wasm: wasm.clone(),
        key: runtime.keys.key_for(wasm),
    };
    match of_disk(runtime, wanted.key) {
        Some(code) => finish(runtime, &wanted, code).map(Found::Linked),
        None => Ok(Found::Nothing(wanted)),
    }
}

/// Makes a component of a core module.
fn wrap(runtime: &RuntimeInner, digest: [u8; 32], module: &[u8]) -> Result<Wanted, PrepareError> {
    let wasm = prepare::wrap(module)?;
    Ok(Wanted {
        digest,
        key: runtime.keys.key_for(&wasm),
        wasm: wasm.into(),
    })
}

/// Code of another host.
struct Foreign {
    /// What it is kept under: it counts only where its issuer is trusted.
    key: CodeKey,
    code: Vec<u8>,
}

/// The code of another host that is trusted, checked and unpacked.
async fn of_others(sharing: &CodeSharing, key: CodeKey) -> Option<Foreign> {
    let search = async {
        for issuer in &sharing.issuers {
            let name = CodeName::new(issuer.as_text(), key);
            let Some(entry) = sharing.store.get(&name, signed::MAX_ENTRY).await else {
                continue;
            };
            let issuer = issuer.clone();
            let opened = tokio::task::spawn_blocking(move || {
                let code = signed::open(key, &entry, &issuer)?;
                let key = key.of_issuer(&issuer);
                Ok::<_, signed::Refusal>(Foreign { key, code })
            });
            match opened.await.ok()? {
                Ok(code) => return Some(code),
                Err(refusal) => {
                    tracing::warn!(entry = %name, "refused shared code: {refusal}");
                }
            }
        }
        None
    };
    let start = Instant::now();
    let found = timeout(PATIENCE, search).await.unwrap_or_else(|_| {
        tracing::warn!(code = %key, within = ?PATIENCE, "shared code did not arrive, compiling");
        None
    });
    let (found_any, took) = (found.is_some(), start.elapsed());
    tracing::debug!(code = %key, found = found_any, ?took, "asked for code of other hosts");
    found
}

/// Links what need not be compiled.
fn at_hand(
    runtime: &RuntimeInner,
    wanted: &Wanted,
    shared: Option<&Foreign>,
) -> Result<Option<Arc<Linked>>, PrepareError> {
    // Another caller of this process may have been at it.
    if let Some(known) = runtime.known(&wanted.digest) {
        return Ok(Some(known));
    }
    let code = of_disk(runtime, wanted.key)
        .or_else(|| shared.and_then(|foreign| take_over(runtime, foreign)));
    code.map(|code| finish(runtime, wanted, code)).transpose()
}

fn make(
    runtime: &RuntimeInner,
    wanted: &Wanted,
    turn: Option<&Turn>,
) -> Result<Arc<Linked>, PrepareError> {
    // Another caller may have compiled it while this one waited; without a turn, another process too.
    let there = match turn {
        Some(_) => runtime.known(&wanted.digest),
        None => at_hand(runtime, wanted, None)?,
    };
    if let Some(there) = there {
        return Ok(there);
    }
    let code = compile(runtime, wanted)?;
    finish(runtime, wanted, code)
}

/// The keys under which code may be kept that this host believes: compiled on this machine, or by
/// somebody whom it trusts now.
fn kept_under(runtime: &RuntimeInner, key: CodeKey) -> impl Iterator<Item = CodeKey> {
    let sharing = runtime.sharing.get();
    let issuers = sharing.into_iter().flat_map(|sharing| &sharing.issuers);
    std::iter::once(key).chain(issuers.map(move |issuer| key.of_issuer(issuer)))
}

fn of_disk(runtime: &RuntimeInner, key: CodeKey) -> Option<Code> {
    let cache = runtime.cache.as_ref()?;
    let mut keys = kept_under(runtime, key);
    let (under, code) =
        keys.find_map(|under| Some((under, cache.load(&runtime.engine, under)?)))?;
    runtime.sources.from_disk.fetch_add(1, Ordering::Relaxed);
    tracing::debug!(code = %key, "took compiled code from disk");
    // What was compiled here may never have come to the others, or not be there any more.
    if under == key {
        offer(runtime, |signer| CodeOffer::kept(key, code.clone(), signer));
    }
    Some(code)
}

/// Gives code to the others, if this host vouches for what it gives.
fn offer(runtime: &RuntimeInner, offer: impl FnOnce(Arc<SigningKey>) -> CodeOffer) {
    if let Some(sharing) = runtime.sharing.get()
        && let Some(signer) = &sharing.signer
    {
        sharing.store.offer(offer(Arc::clone(signer)));
    }
}

/// Loads code of another host and keeps it.
fn take_over(runtime: &RuntimeInner, foreign: &Foreign) -> Option<Code> {
    let Foreign { key, code } = foreign;
    let loaded = match trusted::load(&runtime.engine, code) {
        Ok(loaded) => loaded,
        Err(error) => {
            let error = format_args!("{error:#}");
            tracing::warn!(code = %key, %error, "shared code cannot be loaded, compiling");
            return None;
        }
    };
    runtime.sources.from_lattice.fetch_add(1, Ordering::Relaxed);
    tracing::info!(code = %key, "took over code that another host compiled");
    if let Some(cache) = &runtime.cache {
        cache.store_bytes(*key, code);
    }
    Some(loaded)
}

fn compile(runtime: &RuntimeInner, wanted: &Wanted) -> Result<Code, PrepareError> {
    let key = wanted.key;
    let start = Instant::now();
    prepare::check_types(&wanted.wasm)?;
    let code = Code::from_binary(&runtime.engine, &wanted.wasm).map_err(PrepareError::Compile)?;
    let took = start.elapsed();
    runtime.sources.compiled.fetch_add(1, Ordering::Relaxed);
    tracing::info!(code = %key, ?took, "compiled a component");
    if let Some(cache) = &runtime.cache {
        cache.store(key, &code);
    }
    offer(runtime, |signer| CodeOffer::new(key, code.clone(), signer));
    Ok(code)
}

fn finish(
    runtime: &RuntimeInner,
    wanted: &Wanted,
    code: Code,
) -> Result<Arc<Linked>, PrepareError> {
    let mut linker = runtime.linker();
    dynamic::link(&mut linker, &code)?;
    let pre = linker.instantiate_pre(&code).map_err(PrepareError::Link)?;
    let linked = Arc::new(Linked { code, pre });
    runtime.remember(wanted.digest, &linked);
    Ok(linked)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{Runtime, RuntimeConfig};

    /// Longer than anything here should take on a busy machine.
    const SOON: Duration = Duration::from_secs(60);

    fn runtime(folder: &Path) -> Runtime {
        let config = RuntimeConfig {
            cache_dir: Some(folder.to_owned()),
            max_instances: 4,
            max_memory_bytes: 1 << 20,
            ..RuntimeConfig::default()
        };
        Runtime::new(config).unwrap()
    }

    fn wasm(text: &str) -> Bytes {
        wat::parse_str(text).unwrap().into()
    }

    #[test]
    fn code_that_another_process_has_kept_meanwhile_is_not_compiled_without_a_turn() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = [(); 2].map(|()| runtime(folder.path()));
        let component = wasm("(component)");
        let missing = |runtime: &Runtime| match look_up(runtime.inner(), &component).unwrap() {
            Found::Nothing(wanted) => wanted,
            _ => panic!("it is there already"),
        };
        let (first, second) = (missing(&one), missing(&other));
        make(one.inner(), &first, None).unwrap();
        make(other.inner(), &second, None).unwrap();
        let sources = [one, other].map(|runtime| runtime.code_sources());
        assert_eq!(sources.map(|sources| sources.compiled), [1, 0]);
        assert_eq!(sources.map(|sources| sources.from_disk), [0, 1]);
    }

    #[tokio::test]
    async fn a_core_module_is_wrapped_apart_from_what_is_looked_for_and_compiled() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = runtime(folder.path());
        let module = wasm("(module)");
        let found = look_up(runtime.inner(), &module).unwrap();
        assert!(matches!(found, Found::Module(_)));
        let compilations = Arc::clone(&runtime.inner().compilations);
        let _compiles = compilations.acquire_owned().await.unwrap();
        let linked = timeout(SOON, link(runtime.inner(), module));
        let refused = linked.await.unwrap().err().unwrap();
        assert!(
            matches!(refused, PrepareError::CoreModule { .. }),
            "{refused:?}"
        );
    }
}
