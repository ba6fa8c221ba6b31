//! What services of AWS have in common: keys, where they come from, and signatures.

mod client;
mod keys;
mod options;
mod profile;
mod refusal;
mod sign;
mod source;

pub use client::{AwsClient, AwsError};
pub use keys::{AwsKeys, KeysError};
pub use options::{AwsOptions, environment};
pub use profile::NoProfile;
pub use sign::{Scope, hash, sign};
pub use source::{KeySource, Origin, Role};
