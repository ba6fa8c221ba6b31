//! Key-value buckets for components, kept in a table of PostgreSQL.
//!
//! A link with this provider as target of `wasi:keyvalue` says which server and which table; see
//! [`settings`]. Other programs may use the table, which has a row for each key. A program that
//! writes to it gives `version` a new number, or swaps do not see the write.
//!
//! # Buckets
//!
//! The empty name, `default` and the name of the link mean one bucket, which links to the same
//! table share. Any other bucket that a component opens is there, with keys of its own.
//!
//! # Keys and values
//!
//! Any text can be a key; how PostgreSQL holds what it does not hold is told in [`key`]. `increment`
//! keeps numbers as decimal text, and increments that happen at the same time all count. A swap
//! fails if anybody has written to the key since it was read, also if it was the same value. A key
//! can have a time after which it goes by itself: one of its own, or that of the link that writes
//! it; a number that is added to keeps the time of its key, unless the link gives times.
//!
//! # Watching
//!
//! A link with this provider as source of `wasi:keyvalue/watcher` tells a component of keys that are
//! set or deleted, or whose time is over, whoever did it. The table is looked at some times a second,
//! more seldom where that takes long, so that it takes no more than a tenth of the time: of a key that
//! changed several times in between, the last change is told. So it is of what happened while the
//! component or the provider was away: which versions were told is written down in the table.
//!
//! # Consistency
//!
//! A write is there for every reader once it is answered; a batch is there as a whole or not at
//! all. Keys are listed in the order in which they were first set, so paging visits every key that
//! stays exactly once, while others write.
//!
//! # When the server is away
//!
//! Calls fail at once while connections are refused, and at the latest at their deadline. The link
//! is failed until the server and the table are back.

mod backend;
pub mod key;
mod provider;
pub mod settings;
mod statements;
mod table;
mod watch;

pub use provider::KeyValuePostgres;
