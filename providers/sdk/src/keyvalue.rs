//! Serving `wrpc:keyvalue@0.2.0-draft`: a key-value provider is a [`Backend`] for each link.
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
mod serve;
mod wire;

pub use backend::{Backend, Entry, KeyValueError, KeysPage};
pub use backends::Backends;
pub use serve::serve;
