//! Key-value buckets for components, kept in NATS JetStream.
//!
//! A link with this provider as target of `wasi:keyvalue` works without any config: the values
//! then live in a bucket of the lattice's own NATS. See [`settings`] for what a link may say.
//!
//! # Buckets
//!
//! The bucket that a component opens is a JetStream key-value bucket. The empty name, `default` and
//! the name of the link mean the bucket that the link configures; any other name means the bucket
//! of that name, which has to exist unless the link allows to create it. Buckets in which a lattice
//! keeps its own data are refused with `access-denied`.
//!
//! # Keys and values
//!
//! Any text can be a key: what NATS does not allow in a key is escaped, see [`key`]. Values are
//! stored as they are. `increment` keeps numbers as decimal text, and increments that happen at the
//! same time, in this process or another one, all count. A swap fails if anybody has written to the
//! key since it was read, also if it was the same value: NATS gives every write a revision.
//!
//! All keys of a bucket go after the same time, if any; a single key cannot have one of its own.
//!
//! # Watching
//!
//! A link with this provider as source of `wasi:keyvalue/watcher` tells a component of keys that
//! are set or deleted, whoever did it, in their order. A component or a provider that was away
//! misses steps but not where they led. Keys whose time is over are told as deleted on servers from 2.11
//! on, in buckets whose streams have a `subject_delete_marker_ttl`: those with a time that the provider
//! has made. The feature `watch-expiry` says whether that is so.
//!
//! # Consistency
//!
//! A write is there for every reader once it is answered, as far as the NATS cluster goes: with
//! replicas, a read may be answered by one that is a moment behind. Keys are listed in an order
//! that depends on nothing but the key, so paging through them visits every key that stays exactly
//! once, while others write. The process that reads a listing keeps what comes next for half a minute
//! after each page, some 80,000 keys, so that the pages that follow cost nothing at the server; where
//! it has not, since another copy of the provider is asked or four other listings have begun, all keys
//! are read for a page. A key that was deleted during a listing may still be on its pages.

mod backend;
mod bucket;
mod cluster;
mod counter;
pub mod key;
mod listing;
mod markers;
mod provider;
mod ruled;
pub mod settings;
mod swap;
mod watch;

pub use provider::KeyValueNats;
