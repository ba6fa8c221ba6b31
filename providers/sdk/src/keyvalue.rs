//! Serving key-value buckets through bindings made from the WIT packages: `wrpc:keyvalue@0.2.0-draft`,
//! and beside it `lattice:keyvalue@0.1.0` for what the second draft of `wasi:keyvalue` has more. A
//! key-value provider is a [`Backend`] for each link.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use lattice_provider_sdk::{Backends, ProviderLink, Session, StartError};
//! # use lattice_provider_sdk::keyvalue::{self, Backend};
//! # async fn demo<B: Backend>(session: Session, link: ProviderLink, store: B) -> Result<(), StartError> {
//! let backends = Arc::new(Backends::new());
//! keyvalue::serve(&session, Arc::clone(&backends)).await?; // once, in `Provider::start`
//! backends.put(&link, Arc::new(store)); // for each link that is put
//! backends.delete(&link); // for each that is deleted
//! # Ok(()) }
//! ```
//!
//! # Features
//!
//! What a key-value provider tells of a link in [`Provider::describe`](crate::Provider::describe):
//!
//! | feature | value |
//! | --- | --- |
//! | `increment` | `atomic`: none is lost, whoever else writes |
//! | `max-count` | the largest number that an increment makes |
//! | `cas` | `version`: a swap fails if anybody wrote since; `value`: if the value is another one by then, so that one that was changed and changed back counts as unchanged |
//! | `ttl` | `key`: each key may have a time of its own; `bucket`: all keys of a bucket have the same |
//! | `paging` | `once`: a key that stays is listed exactly once; `stable`: at least once |
//! | `order` | `key`: keys are listed in their order; `none` |
//! | `watch` | how changes are told: `live` while the provider runs, `resumed` also those that happened while it did not; `none` |
//! | `watch-set`, `watch-delete` | whether it is told that a key was set, and that one was deleted |
//! | `watch-expiry` | whether keys whose time is over are told as deleted: `yes`; `server` where the backend's own setup says so; `none` |
//! | `watch-steps` | what is told of a key that changes several times: `each` change, to a component that is there and keeps up; `last`: of those that follow one another closely the last may be told alone; `none`. While nobody is told, `last` is what all promise |
//! | `consistency` | see [`vocabulary`](crate::vocabulary) |
//! | `batch` | `atomic`: all of it or nothing; `each`: key by key |
//! | `max-value-bytes`, `max-key-bytes` | the longest value and key |

/// The longest value that a call can carry, with some room for the rest of the message. No provider
/// tells a longer one, whatever its backend takes.
pub const LARGEST_VALUE: usize = 63 * 1024 * 1024;

mod backend;
pub mod decimal;
mod link;
pub mod pages;
mod serve;
mod serve_versions;
mod turns;
pub mod watch;

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
// The provider's side only. Callers need the mirror of this world, with types of its own; for tests
// it is in `lattice-keyvalue-suite`.
mod bindings {
    wit_bindgen_wrpc::generate!({
        inline: "
            package lattice:keyvalue-provider;
            world provider {
                export wrpc:keyvalue/store@0.2.0-draft;
                export wrpc:keyvalue/atomics@0.2.0-draft;
                export wrpc:keyvalue/batch@0.2.0-draft;
                export lattice:keyvalue/store@0.1.0;
                export lattice:keyvalue/atomics@0.1.0;
                import wrpc:keyvalue/watcher@0.2.0-draft;
            }
        ",
        path: [
            "../../interfaces/wit/wrpc-keyvalue-0.2.0-draft",
            "../../interfaces/wit/lattice-keyvalue-0.1.0",
        ],
        world: "lattice:keyvalue-provider/provider",
        generate_all,
        additional_derives: [PartialEq, Eq],
    });
}

pub use backend::{
    Atomics, Backend, Batch, Entry, KeyValueError, KeysPage, LARGEST_ANSWER, Store, is_own_bucket,
};
pub use bindings::wrpc::keyvalue::watcher;
pub use lattice_core::keyvalue::{Outcome, Versioned};
pub use link::{accept, lifetime};
pub use serve::serve;
pub use turns::Turns;
