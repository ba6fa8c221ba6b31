//! Serving `wrpc:keyvalue@0.2.0-draft` through bindings made from its WIT package: a key-value
//! provider is a [`Backend`] for each link.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use lattice_provider_sdk::{ProviderLink, Session, StartError};
//! # use lattice_provider_sdk::keyvalue::{self, Backend, Backends};
//! # async fn demo<B: Backend>(session: Session, link: ProviderLink, store: B) -> Result<(), StartError> {
//! let backends = Arc::new(Backends::new());
//! keyvalue::serve(&session, Arc::clone(&backends)).await?; // once, in `Provider::start`
//! backends.put(&link, Arc::new(store)); // for each link that is put
//! backends.delete(&link); // for each that is deleted
//! # Ok(()) }
//! ```

mod backend;
mod backends;
pub mod decimal;
mod serve;

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
                import wrpc:keyvalue/watcher@0.2.0-draft;
            }
        ",
        path: "../../interfaces/wit/wrpc-keyvalue-0.2.0-draft",
        world: "lattice:keyvalue-provider/provider",
        generate_all,
        additional_derives: [PartialEq, Eq],
    });
}

pub use backend::{Atomics, Backend, Batch, Entry, KeyValueError, KeysPage, Store, is_own_bucket};
pub use backends::Backends;
pub use bindings::wrpc::keyvalue::watcher;
pub use serve::serve;
