//! `wasi:distributed-lock@0.1.0`, whose lock is a resource, in front of `lattice:lock@0.1.0`.
//!
//! A resource cannot leave the process, so the lock of the guest stands here for the token of a
//! lease. The link is that for `wasi:distributed-lock/locker`, as the component has it; a lock is
//! released through the link that it was acquired through, whatever name is chosen in between.
//!
//! A lock that is dropped is released before the guest goes on, for as long as that takes little
//! time. One that is still there when its instance ends is released behind it. Where that does not
//! arrive, the lease runs out by itself.

mod wire;

use std::sync::Arc;
use std::time::Duration;

use lattice_core::values::Plain;
use tokio::time::{Instant, timeout};
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, Lower, Resource, ResourceType};

use self::wire::{Lease, LockError, text};
use super::{Remote, chain, check_kept, outcome};
use crate::outbound::Outbound;
use crate::store::Ctx;
use crate::wire::{Wire, WireList};
use crate::{CallContext, Invoke, InvokeError, Shape};

/// How long the release of a lock that was dropped may take.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

const fn remote(function: &'static str) -> Remote {
    Remote {
        lookup: "wasi:distributed-lock/locker",
        instances: &["lattice:lock/lock@0.1.0"],
        function,
    }
}

const ACQUIRE: Remote = remote("acquire");
const RELEASE: Remote = remote("release");

/// The store of the link.
const STORE: &str = "";

/// `error`.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "not-acquired")]
    NotAcquired(String),
    #[component(name = "lease-expired")]
    LeaseExpired(String),
    #[component(name = "already-released")]
    AlreadyReleased(String),
    #[component(name = "unknown")]
    Unknown(String),
}

/// `lock`: a lease that has not been released.
struct Lock {
    key: String,
    /// Empty once it was released.
    token: Option<String>,
    link: Arc<str>,
    ends: Instant,
    invoke: Arc<dyn Invoke>,
    results: Shape,
}

impl Lock {
    /// What releases it; `None` where nothing is left to release.
    fn token_to_release(&self) -> Option<String> {
        let token = self.token.clone();
        token.filter(|_| Instant::now() < self.ends)
    }
}

impl Drop for Lock {
    /// The instance has ended with the lock in its hands.
    fn drop(&mut self) {
        let Some(token) = self.token_to_release() else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (invoke, link, results) = (
            Arc::clone(&self.invoke),
            Arc::clone(&self.link),
            self.results.clone(),
        );
        // It ends by itself: its time is bounded.
        runtime.spawn(async move {
            let cx = CallContext::within(RELEASE_LIMIT);
            let target = RELEASE.import(&link, &results);
            let params = (STORE.to_owned(), token).to_bytes();
            let released = timeout(RELEASE_LIMIT, invoke.call(&cx, target, params)).await;
            if let Ok(Err(error)) = released {
                unreleased(&chain(&error));
            }
        });
    }
}

type Held = Resource<Lock>;

pub(super) fn link(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    let released = outcome::<(), LockError>();
    let mut types = linker.instance("wasi:distributed-lock/types@0.1.0")?;
    types.resource_async("lock", ResourceType::host::<Lock>(), |store, rep| {
        Box::new(drop_lock(store, Resource::new_own(rep)))
    })?;
    types.func_wrap_async("[method]lock.release", |store, (lock,): (Held,)| {
        Box::new(async move { Ok((release(store, &lock).await?,)) })
    })?;
    let acquired = outcome::<Lease, LockError>();
    let mut locker = linker.instance("wasi:distributed-lock/locker@0.1.0")?;
    locker.func_wrap_async("acquire", move |mut store, (key, ttl): (String, u32)| {
        let (acquired, released) = (acquired.clone(), released.clone());
        Box::new(async move {
            let outbound = store.data().outbound().clone();
            let lock = match acquire(&outbound, &acquired, released, key, ttl).await {
                Ok(lock) => Ok(store.data_mut().table.push(lock)?),
                Err(error) => Err(error),
            };
            Ok((lock,))
        })
    })
}

/// Tries once.
async fn acquire(
    outbound: &Outbound,
    acquired: &Shape,
    results: Shape,
    key: String,
    ttl: u32,
) -> Result<Lock, Error> {
    check_kept("the key of a lock", &key).map_err(Error::Unknown)?;
    let link = outbound.link_name(ACQUIRE.lookup).into();
    let began = Instant::now();
    let params = (STORE.to_owned(), key.clone(), ttl, 0_u32);
    let lease: Lease = match call(outbound, ACQUIRE, acquired, params).await {
        Ok(Ok(lease)) => lease,
        Ok(Err(error)) => return Err(refused(&key, error)),
        Err(error) => return Err(Error::Unknown(chain(&error))),
    };
    check_kept("the token of a lease", &lease.token).map_err(Error::Unknown)?;
    Ok(Lock {
        key,
        token: Some(lease.token),
        link,
        ends: began + Duration::from_millis(lease.ttl_ms.into()),
        invoke: Arc::clone(outbound.invoke()),
        results,
    })
}

fn refused(key: &str, error: LockError) -> Error {
    match error {
        LockError::Held(None) => Error::NotAcquired(format!("`{key}` is held")),
        LockError::Held(Some(holder)) => {
            let owner = holder.owner;
            Error::NotAcquired(format!("`{key}` is held by `{owner}`"))
        }
        other => Error::Unknown(text(other)),
    }
}

/// The way out through the link of a lock.
fn through(cx: &Ctx, lock: &Lock) -> Outbound {
    let mut outbound = cx.outbound().clone();
    outbound.set_link(RELEASE.lookup.to_owned(), Arc::clone(&lock.link));
    outbound
}

async fn release(
    mut store: StoreContextMut<'_, Ctx>,
    lock: &Held,
) -> wasmtime::Result<Result<(), Error>> {
    let held = store.data_mut().table.get_mut(lock)?;
    let key = held.key.clone();
    let Some(token) = held.token.clone() else {
        let text = format!("the lock of `{key}` was released before");
        return Ok(Err(Error::AlreadyReleased(text)));
    };
    let held = store.data().table.get(lock)?;
    let (outbound, results) = (through(store.data(), held), held.results.clone());
    let params = (STORE.to_owned(), token.clone());
    // The token stays until there is an answer: a guest that is cut off here leaves it to be given
    // back, and one that is told of a failure may try again.
    let answer = match call::<()>(&outbound, RELEASE, &results, params).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(LockError::NotHeld)) => {
            let text = format!("the lease of `{key}` ran out before its release");
            Err(Error::LeaseExpired(text))
        }
        Ok(Err(error)) => return Ok(Err(Error::Unknown(text(error)))),
        Err(error) => return Ok(Err(Error::Unknown(chain(&error)))),
    };
    store.data_mut().table.get_mut(lock)?.token = None;
    Ok(answer)
}

/// Releases what the guest drops without having done so.
async fn drop_lock(mut store: StoreContextMut<'_, Ctx>, lock: Held) -> wasmtime::Result<()> {
    let lock = store.data_mut().table.delete(lock)?;
    let outbound = through(store.data(), &lock);
    release_dropped(lock, &outbound).await;
    Ok(())
}

/// Releases a lock while its guest waits.
async fn release_dropped(mut lock: Lock, outbound: &Outbound) {
    let Some(token) = lock.token_to_release() else {
        return;
    };
    let params = (STORE.to_owned(), token);
    let released = call::<()>(outbound, RELEASE, &lock.results, params);
    // The token stays until then: a guest that is cut off here leaves it to be released behind it.
    match timeout(RELEASE_LIMIT, released).await {
        Ok(Ok(Ok(()) | Err(LockError::NotHeld))) => {}
        // The call that the guest is in has no time left; what is done behind it has some of its own.
        Ok(Err(InvokeError::Deadline)) => return,
        Ok(Ok(Err(error))) => unreleased(&text(error)),
        Ok(Err(error)) => unreleased(&chain(&error)),
        Err(_) => unreleased("there was no answer in time"),
    }
    lock.token = None;
}

fn unreleased(why: &str) {
    tracing::debug!(why, "could not release a lock, its lease runs out");
}

/// Calls a function: with values as they are where the locks are in this process.
async fn call<T: Wire + Plain>(
    outbound: &Outbound,
    remote: Remote,
    results: &Shape,
    params: impl WireList + Plain,
) -> Result<Result<T, LockError>, InvokeError> {
    let target = remote.target(results);
    let params = match outbound.call_plain(target, params).await {
        Ok(answer) => return answer,
        Err(params) => params,
    };
    let reply = outbound.call(target, params.to_bytes());
    let answer = <(Result<T, LockError>,)>::from_bytes(reply.await?);
    let (answer,) = answer.map_err(|error| InvokeError::Transport {
        what: "the answer of the locks cannot be read".to_owned(),
        source: Some(error.into()),
    })?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use bytes::Bytes;
    use futures::FutureExt as _;
    use lattice_codec::Path;
    use lattice_codec::http::{ErrorCode, RequestOptions};
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    use super::*;
    use crate::limits::Meter;
    use crate::testing::EchoHttp;
    use crate::ticker::Ticker;
    use crate::{ByteStream, HttpBody, ImportTarget, StreamingReply};

    /// Tells of each call, and answers none.
    struct Deaf(UnboundedSender<(String, Bytes)>);

    #[async_trait]
    impl Invoke for Deaf {
        async fn call(
            &self,
            _: &CallContext,
            target: ImportTarget<'_>,
            params: Bytes,
        ) -> Result<Bytes, InvokeError> {
            self.0.send((target.function.to_owned(), params)).unwrap();
            std::future::pending().await
        }

        async fn call_streaming(
            &self,
            cx: &CallContext,
            target: ImportTarget<'_>,
            params: Bytes,
            streams: Vec<(Path, ByteStream)>,
            results: &[Path],
        ) -> Result<StreamingReply, InvokeError> {
            EchoHttp
                .call_streaming(cx, target, params, streams, results)
                .await
        }

        async fn send_http(
            &self,
            cx: &CallContext,
            link_name: &str,
            request: http::Request<HttpBody>,
            options: RequestOptions,
        ) -> Result<http::Response<HttpBody>, ErrorCode> {
            EchoHttp.send_http(cx, link_name, request, options).await
        }
    }

    #[tokio::test]
    async fn the_release_of_a_guest_that_is_cut_off_is_made_behind_it() {
        let long = Duration::from_secs(60);
        let (sender, mut calls) = unbounded_channel();
        let invoke: Arc<dyn Invoke> = Arc::new(Deaf(sender));
        let engine = wasmtime::Engine::default();
        let ticker = Ticker::start(&engine, Duration::from_millis(5)).unwrap();
        let meter = Arc::new(Meter::new(ticker.enter(), None));
        let outbound = Outbound::new(Arc::clone(&invoke), CallContext::within(long), &meter);
        let lock = Lock {
            key: "a".to_owned(),
            token: Some("token 1".to_owned()),
            link: "default".into(),
            ends: Instant::now() + long,
            invoke,
            results: outcome::<(), LockError>(),
        };
        let mut released = Box::pin(release_dropped(lock, &outbound));
        assert!(released.as_mut().now_or_never().is_none());
        let (function, params) = calls.try_recv().unwrap();
        assert_eq!(function, "release");
        drop(released);
        let behind = timeout(long, calls.recv()).await.unwrap();
        assert_eq!(behind, Some((function, params)));
    }
}
