//! Blobs for components, kept in folders.
//!
//! A link with this provider as target of `wasi:blobstore` says which folder; see [`settings`].
//!
//! # What is where
//!
//! The folder of a link holds one folder for each container, and that one file for each object, in
//! folders where its name has them. A plain name is the path of its file, so other programs can share
//! them; [`name`] tells how all other names are written. Files whose names no object can have are not seen, and neither are
//! symbolic links, pipes and devices: nothing outside of the folder is ever opened.
//!
//! # Writing
//!
//! An object is written to a file of its own beside the containers, in `.incoming`, and takes its
//! place when its data are complete and on the disk. What a provider that was killed has left there
//! is taken away by the next one.
//!
//! # Listing
//!
//! Names come in the order of their bytes. A container is gone through once for each 8 MiB of
//! names, so that its size is of no matter to memory.

mod backend;
mod copying;
mod failure;
mod folder;
mod incoming;
mod listing;
pub mod name;
mod provider;
mod reading;
pub mod settings;

pub use provider::{BlobstoreFs, folder};
