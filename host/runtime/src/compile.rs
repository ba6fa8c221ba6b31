//! From bytes to code that is linked: compiled here, or found where it was compiled before.
//!
//! Looked at in turn are the code in use, the folder of this machine and what other hosts share;
//! then it is compiled. Threads that are busy take one of a few permits, those that compile apart from
//! those that look; what waits for a file or for the network takes none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lattice_claims::SigningKey;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use wasmtime::component::Component as Code;

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

#[derive(Debug, Default)]
pub(crate) struct SourceCounts {
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
}

/// Makes code out of the bytes of a component or of a core module, and links it.
pub(crate) async fn link(
    runtime: &Arc<RuntimeInner>,
    wasm: Bytes,
) -> Result<Arc<Linked>, PrepareError> {
    let lookups = &runtime.lookups;
    let found = busy(runtime, lookups, move |runtime| look_up(runtime, &wasm)).await?;
    let wanted = match found {
        Found::Linked(linked) => return Ok(linked),
        Found::Nothing(wanted) => wanted,
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
        Ok(match at_hand(runtime, &wanted, shared.as_ref())? {
            Some(linked) => Found::Linked(linked),
            None => Found::Nothing(wanted),
        })
    });
    let wanted = match found.await? {
        Found::Linked(linked) => return Ok(linked),
        Found::Nothing(wanted) => wanted,
    };
    busy(runtime, &runtime.compilations, move |runtime| {
        let _turn: Option<Turn> = turn;
        make(runtime, &wanted)
    })
    .await
}

/// Does what keeps a thread busy, on a thread of its own and when there is a permit.
async fn busy<T: Send + 'static>(
    runtime: &Arc<RuntimeInner>,
    permits: &Arc<Semaphore>,
    work: impl FnOnce(&RuntimeInner) -> Result<T, PrepareError> + Send + 'static,
) -> Result<T, PrepareError> {
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .map_err(|_| PrepareError::ShutDown)?;
    let runtime = Arc::clone(runtime);
    let done = tokio::task::spawn_blocking(move || {
        // Held by the thread and not by the caller, who may go away while it works.
        let _permit = permit;
        work(&runtime)
    });
    done.await.unwrap_or_else(|error| {
        if !error.is_panic() {
            return Err(PrepareError::ShutDown);
        }
        // No bytes may bring the host down, not even those that confuse the compiler.
        Err(PrepareError::Compile(wasmtime::Error::msg(
            "the compiler gave up with a panic",
        )))
    })
}

fn look_up(runtime: &RuntimeInner, wasm: &Bytes) -> Result<Found, PrepareError> {
    let digest = Sha256::digest(wasm).into();
    if let Some(known) = runtime.known(&digest) {
        return Ok(Found::Linked(known));
    }
    let component = prepare::componentize(wasm)?;
    let key = runtime.keys.key_for(&component);
    let wanted = Wanted {
        digest,
        wasm: match component {
            std::borrow::Cow::Borrowed(_) => wasm.clone(),
            std::borrow::Cow::Owned(wrapped) => wrapped.into(),
        },
        key,
    };
    match of_disk(runtime, key) {
        Some(code) => finish(runtime, &wanted, code).map(Found::Linked),
        None => Ok(Found::Nothing(wanted)),
    }
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

fn make(runtime: &RuntimeInner, wanted: &Wanted) -> Result<Arc<Linked>, PrepareError> {
    // Another caller may have compiled it while this one waited.
    if let Some(known) = runtime.known(&wanted.digest) {
        return Ok(known);
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
