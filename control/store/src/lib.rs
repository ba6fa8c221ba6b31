//! Typed view of the JetStream buckets that hold the state of a lattice.
//!
//! [`LatticeStore`] opens the buckets (and creates those that are missing), then hands out one
//! store per kind of record: [`LinkStore`] for component specs and their links, [`ClaimsStore`],
//! [`ConfigStore`] and [`StatusStore`]. Records and keys are those of the 1.9 lattice, so both
//! generations share them; link states live in a bucket of their own that old peers never see, and
//! so does compiled code, in [`CodeBucket`].
//!
//! Specs are changed by read-modify-write with the expected revision, so that hosts which change
//! the same spec at the same time lose nothing. Watches never end: when NATS goes away or a
//! bucket is replaced, they come back and start with the complete state, so that a change missed
//! in between is noticed.

mod bucket;
mod bundle;
mod claims;
mod code;
mod config_watch;
mod configs;
mod edit;
mod error;
mod lattice_watch;
mod leader;
mod links;
mod raw_watch;
mod reporter;
mod status;
mod store;
mod told;

pub use bundle::{BundleError, ConfigBundle};
pub use claims::ClaimsStore;
pub use code::CodeBucket;
pub use config_watch::ConfigWatch;
pub use configs::{CheckConfigsError, ConfigStore};
pub use error::StoreError;
pub use lattice_watch::{LatticeChange, LatticeSnapshot, LatticeWatch};
pub use links::{DeletedLink, LinkStore, PutLinkError, add_missing_links, is_missing};
pub use reporter::StatusReporter;
pub use status::StatusStore;
pub use store::{LatticeStore, StoreOptions};
