//! Blobs for components: the provider that keeps them in Azure Blob Storage.
//!
//! A link with this provider as target of `wasi:blobstore` says which account and as whom; see
//! [`settings`]. Containers are containers, objects are block blobs.
//!
//! # Names
//!
//! Containers are named by the rules of Azure: 3 to 63 lower-case letters, digits and single hyphens.
//! Other names are refused with the rule that they break, before anything is sent. Objects may be
//! called anything of up to 1024 characters, but for backslashes, which the service would turn into
//! slashes, and `.` and `..` between slashes, which it would resolve.
//!
//! # Writing
//!
//! Data are collected up to the size of one block. An object that is shorter is written with one
//! request, a longer one in blocks, two of which are held in memory at a time. It appears when all of
//! them are there. The blocks of a write that breaks off are invisible, and the service forgets them
//! by itself within a week. The service keeps one set of blocks for each object, and drops it
//! whenever a write of that object ends, a short one as well. So of several writes of one object at
//! once, those in blocks fail at their end if another ended meanwhile; they may be tried again.
//!
//! # Reading
//!
//! Ranges are asked for as such, and data are passed on as they come.
//!
//! # Copying and moving
//!
//! The service copies by itself, and is asked until it has. A move is a copy and a deletion, both of
//! the version that was there when it began; one that was written since stays.
//!
//! # Times
//!
//! The time of an object is when it was written. That of a container is when it was last changed,
//! which the service tells instead of when it was made: both are the same until somebody changes its
//! metadata or access policy. Writing objects is no such change.
//!
//! # When the service is away
//!
//! Requests that can be made twice are, with growing pauses, up to `max_attempts` times; after that
//! a call fails with what the service said. A link whose service does not answer, refuses the key or
//! has no such container is a failed one, and is tried again.

mod backend;
mod blobs;
mod containers;
mod error;
mod names;
mod provider;
pub mod settings;
#[cfg(test)]
mod tests;
mod upload;

pub use provider::BlobstoreAzure;
