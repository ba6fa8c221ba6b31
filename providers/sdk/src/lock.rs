//! Serving `lattice:lock@0.1.0`, and campaigning for components that want to lead: a lock provider
//! is a [`Locks`] for each link.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use std::time::Duration;
//! # use lattice_provider_sdk::{LinkError, ProviderLink, Session, Settings, StartError};
//! # use lattice_provider_sdk::lock::{LockLinks, Limits, Locks};
//! # async fn start<B: Locks>(session: Session) -> Result<LockLinks<B>, StartError> {
//! let desks = LockLinks::serve(&session).await?; // once, in `Provider::start`
//! # Ok(desks) }
//! # fn put<B: Locks>(desks: &LockLinks<B>, session: &Session, link: &ProviderLink, locks: B) -> Result<(), LinkError> {
//! let limits = Limits::read(&Settings::of(session, link), Duration::from_secs(1))?;
//! desks.put(link, locks, limits); // for each link that is put
//! # Ok(()) }
//! ```
//!
//! # What is done here
//!
//! Tokens, owners, limits and waiting are the same for every backend. A token cannot be guessed,
//! and is of use to the component that got it only. A call that waits gives up before its deadline;
//! when its caller is gone by the time the lock is got, the lock is released again. The number of
//! calls that wait is bounded for each link.
//!
//! # What a link may say
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `ttl_ms` | how long a lease lasts when the component says 0, and that of an elected component | 30000 |
//! | `ttl_max_ms` | the longest lease that a component may ask for | 3600000 |
//! | `max_waiters` | how many calls may wait at once | 256 |
//! | `election` | only with the provider as source: the name of the lock that makes a leader | required there |
//! | `store` | only with the provider as source: the store of that lock | the link's own |
//!
//! # Features
//!
//! What a link may require (see [`Features`](crate::Features)):
//!
//! | name | value |
//! | --- | --- |
//! | `fencing` | fencing numbers grow with every acquisition of a name |
//! | `fair` | waiters get the lock in the order in which they came, in the whole lattice |
//! | `ttl-min-ms`, `ttl-max-ms` | the shortest lease that is kept, and the longest that is given |
//! | `consistency` | `linearizable`: never two holders while the backend does what it promises; `best-effort`: a failover of the backend may make two, of which the fence tells the later |
//! | `ttl` | `lease`: a lock goes with its lease |
//! | `cas` | `token`: only who holds a lock renews and releases it |
//! | `paging` | `none`: locks are not listed |
//! | `order` | `arrival`: waiters get the lock in the order in which they came; `none` |
//! | `max-waiters` | how many calls may wait at once |

mod backend;
mod claim;
mod leader;
mod limits;
mod link_locks;
mod local_queue;
mod serve;
mod wakeups;
mod wire;

#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::error_impl_error,
    clippy::missing_errors_doc,
    clippy::wildcard_imports,
    reason = "generated from the WIT package"
)]
// The provider's side only; tests have the mirror of this world.
mod bindings {
    wit_bindgen_wrpc::generate!({
        inline: "
            package lattice:lock-provider;
            world provider {
                export lattice:lock/lock@0.1.0;
                import lattice:lock/leader@0.1.0;
            }
        ",
        path: "../../interfaces/wit/lattice-lock-0.1.0",
        world: "lattice:lock-provider/provider",
        generate_all,
        additional_derives: [PartialEq, Eq],
    });
}

pub use backend::{Granted, Holder, Lease, LockError, Locks};
pub use claim::{Claim, LockName};
pub use leader::Election;
pub use limits::Limits;
pub use link_locks::LinkLocks;
pub use local_queue::{Attempt, LocalQueue};
pub use serve::LockLinks;
pub use wakeups::{Listener, Wakeups};
