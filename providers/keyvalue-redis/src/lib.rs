//! Key-value buckets for components, kept in Redis or a server that speaks its protocol.
//!
//! A link with this provider as target of `wasi:keyvalue` says which server; see [`settings`].
//!
//! # Buckets
//!
//! The empty name, `default` and the name of the link mean the keys of the database as they are,
//! so that other programs share them. Any other bucket that a component opens is there, with keys
//! of its own; how they are kept apart is told in [`namespace`]. A link with `buckets=shared` has one
//! set of keys for all names, as 1.x had.
//!
//! # Values
//!
//! Values are Redis strings. `increment` is `INCRBY`, so numbers are decimal text and end at the
//! largest signed one; a sum that the caller could not take is not made. Batches are `MGET`, `MSET`
//! and `DEL`: each takes effect as a whole, but that more than a thousand keys are read in parts. A
//! swap compares the value: one that was changed and changed back counts as unchanged.
//!
//! Increments, swaps and reads of many keys are scripts: the login of a link has to be allowed
//! `EVALSHA` and `EVAL` for them.
//!
//! A key can have a time after which it goes by itself: one of its own, or that of the link that
//! writes it. A number that is added to keeps the time of its key, unless the link gives times.
//!
//! # Listing
//!
//! Pages of keys come from `SCAN`. A key that is there from the first page to the last is listed
//! at least once; one that others write meanwhile may be listed twice. Keys of other Redis types
//! are listed too.
//!
//! # What Redis promises
//!
//! One server that keeps its data shows every write to all who read later. Its replicas follow after
//! the answer, so one of them that takes over, or a start without the data, loses the last writes: the
//! consistency is told as `best-effort`.
//!
//! # Watching
//!
//! A link with this provider as source of `wasi:keyvalue/watcher` tells a component of keys that
//! are set or deleted, whoever did it, in any database and bucket. The server has to be set up to
//! tell of changes, and changes are told in their order. A component that was out of reach, or a
//! provider that was, misses steps but not where they led.
//!
//! # When the server is away
//!
//! A call is answered with an error as soon as the attempts to connect again have failed, and calls
//! after it make new attempts. A link whose server does not answer when the link is put is a failed
//! one, and is tried again.

mod backend;
mod connection;
mod many;
pub mod namespace;
mod numbers;
mod provider;
mod scan;
mod script;
pub mod settings;
mod swap;
mod watch;

pub use provider::KeyValueRedis;
