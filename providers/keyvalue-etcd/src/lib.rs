//! Key-value buckets for components, kept in etcd.
//!
//! A link with this provider as target of `wasi:keyvalue` says which etcd and under which prefix;
//! see [`settings`].
//!
//! # Buckets
//!
//! The empty name, `default` and the name of the link mean one bucket, which links with the same
//! prefix share. Any other bucket that a component opens is there, with keys of its own; how they
//! are kept apart is told in [`namespace`].
//!
//! # Keys and values
//!
//! Any text can be a key. `increment` keeps numbers as decimal text, and increments that happen at
//! the same time all count. A swap fails if anybody has written to the key since it was read, also
//! if it was the same value: etcd gives every write a revision. A key can have a time after which
//! it goes by itself: one of its own, or that of the link that writes it. A number that is added to
//! keeps the time of its key, unless the link gives times.
//!
//! etcd counts times in whole seconds, and has a shortest one of two, set up as it is by default. Keys
//! that are written within a second for the same time share a lease, for which a second is added: a key
//! goes up to three seconds late, as etcd notices the end of a time up to a second late, too. So one
//! that is set for 2500 ms is there for up to five seconds; none goes before its time.
//!
//! etcd takes requests of up to 1.5 MiB, so a link bounds values before that (`max_value_bytes`). A
//! batch is cut into transactions of a size that etcd takes: each is done as a whole.
//!
//! # Consistency
//!
//! A write is there for every reader once it is answered. Keys are listed newest first, by when
//! they came to be, so paging visits every key that stays exactly once, while others write.
//!
//! # Watching
//!
//! A link with this provider as source of `wasi:keyvalue/watcher` tells a component of keys that
//! are set, deleted or over, whoever did it, in their order, each with its value. A component that
//! is away is waited for. A provider that was away goes on where it was, as far back as etcd keeps
//! changes; beyond that, the component is told what the keys have become.

mod backend;
mod bucket;
mod failure;
mod leases;
pub mod namespace;
mod provider;
pub mod settings;
mod watch;

pub use provider::KeyValueEtcd;
