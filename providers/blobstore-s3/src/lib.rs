//! Blobs for components: the provider that keeps them in S3 or what speaks its protocol.
//!
//! A link with this provider as target of `wasi:blobstore` says where and as whom; see
//! [`settings`]. Containers are buckets, objects are objects.
//!
//! # Names
//!
//! Buckets are named by the rules of S3: 3 to 63 lower-case letters, digits, hyphens and dots. Other
//! names are refused with the rule that they break, before anything is sent. Objects may be called
//! anything of up to 1024 bytes; they are kept under exactly that name, so that other programs find
//! them.
//!
//! # Writing
//!
//! Data are collected up to the size of one part. An object that is shorter is written with one
//! request, a longer one in parts, two of which are held in memory at a time. It appears when all of
//! them are there. A write that breaks off takes its parts away again; when even that fails, they
//! are left to the rules of the bucket for unfinished uploads. When the answer to the last request of
//! a write is lost, the service is asked what became of it.
//!
//! # Reading
//!
//! Ranges are asked for as such, and data are passed on as they come.
//!
//! # Copying and moving
//!
//! The service copies by itself, above 5 GiB in pieces, all of one version: when the object is
//! replaced in the middle, the copy fails. A move is a copy and a deletion. The object is looked at
//! before it is deleted, and stays when it was written after it was copied; what is written between
//! that look and the deletion, which are two requests, is deleted.
//!
//! # When the service is away
//!
//! Requests that can be made twice are, with growing pauses, up to `max_attempts` times; after that
//! a call fails with what the service said. A link whose service does not answer, refuses the key or
//! has no such bucket is a failed one, and is tried again.

mod backend;
mod buckets;
mod client;
mod error;
mod names;
mod objects;
mod provider;
pub mod settings;
#[cfg(test)]
mod tests;
mod upload;

pub use provider::BlobstoreS3;
