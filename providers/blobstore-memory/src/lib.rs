//! Blobs for components, kept in the memory of the provider.
//!
//! For tests, for caches, and for what may be lost: everything is gone when the provider ends, and a
//! second process of it has containers of its own. A link with this provider as target of
//! `wasi:blobstore` says which store, and how much it may hold; see [`settings`].
//!
//! What would hold more than it may is refused, by name of the bound; nothing that is there is
//! thrown out for it. Objects count with their names and what keeping them takes, so that any
//! number of empty ones is bounded too. Data that are still read after their object was deleted or
//! replaced count until their last reader is done.

mod backend;
mod container;
mod listing;
mod provider;
mod room;
pub mod settings;
mod store;

pub use provider::BlobstoreMemory;
