//! Blobs for components, kept in NATS object stores.
//!
//! A link with this provider as target of `wasi:blobstore` says which NATS; see [`settings`].
//!
//! # What is where
//!
//! A container is an object store: the stream `OBJ_` and its name, in which an object is a message
//! that describes it and messages with its data. Other clients of NATS see the same objects, under
//! the same names, and write ones that are read here.
//!
//! # Ranges
//!
//! The description of an object that is written here tells where in the stream its data are, so
//! that a range is read from about where it begins. Objects of other clients are read from their
//! beginning.
//!
//! # Writing
//!
//! Data are stored before their description, which makes them an object. What was stored of a write
//! that breaks off is purged, and so are the data of an object that was replaced or deleted: who is
//! reading them at that time gets an error. Two who replace an object at once do it one after the
//! other.
//!
//! A write whose container is cleared meanwhile, or deleted and created again, fails. A move is a
//! copy and a deletion of what was copied: what is written in its place meanwhile stays.
//!
//! What a provider that was killed has stored of a write is purged by one that uses the container
//! later.
//!
//! # Listing
//!
//! Names come in the order in which their objects were written.

mod api;
mod backend;
mod chores;
mod consumer;
mod container;
mod draft;
mod index;
mod listing;
mod meta;
mod provider;
mod reading;
pub mod settings;
mod tidy;

pub use provider::BlobstoreNats;
