//! Key-value buckets for components, kept in a file by SQLite.
//!
//! A link with this provider as target of `wasi:keyvalue` says which file; see [`settings`]. Links
//! that say the same file share it, and so may other programs: the table `lattice_keyvalue` has a
//! row for each key. A program that writes to it gives `version` a new number, or swaps do not see
//! the write.
//!
//! # Buckets
//!
//! The empty name, `default` and the name of the link mean one bucket, which links to the same file
//! share. Any other bucket that a component opens is there, with keys of its own.
//!
//! # Keys and values
//!
//! Any text can be a key. `increment` keeps numbers as decimal text, and increments that happen at
//! the same time all count. A swap fails if anybody has written to the key since it was read, also
//! if it was the same value. A key can have a time after which it goes by itself: one of its own, or
//! that of the link that writes it; a number that is added to keeps the time of its key, unless the
//! link gives times.
//!
//! # Watching
//!
//! A link with this provider as source of `wasi:keyvalue/watcher` tells a component of keys that are
//! set or deleted, or whose time is over, whoever did it. The file is looked at some times a second,
//! more seldom where that takes long, so that it takes no more than a tenth of the time: of a key that
//! changed several times in between, the last change is told. So it is of what happened while the
//! component or the provider was away: which versions were told is written down in the file.
//!
//! # Consistency
//!
//! A write is there for every reader, and on the disk, once it is answered; a batch is there as a
//! whole or not at all. Writes that arrive at the same time go to the disk together. Keys are
//! listed in the order in which they were first set, so paging visits every key that stays exactly
//! once, while others write.
//!
//! # When the file is away
//!
//! The file is opened, and made if it is missing, when a link is put. A link whose file is removed
//! fails until one is there again, which is opened then, once all that was under way with the first one
//! has been broken off.

mod backend;
mod database;
mod failure;
mod provider;
mod rows;
pub mod settings;
mod told;
mod watch;
mod worker;

pub use provider::KeyValueSqlite;
