//! What a lattice asks of NATS beyond what the client library offers.
//!
//! [`create_bucket`] makes a key-value bucket on every server generation from 2.9 on, and
//! [`open_bucket`] does when there is none yet. [`connection`] is the one way to connect.

mod bucket;
pub mod connection;
mod open;

pub use bucket::{CreateBucketError, NewBucket, create_bucket, is_bucket_name};
pub use open::{OpenBucketError, find_bucket, open_bucket};
