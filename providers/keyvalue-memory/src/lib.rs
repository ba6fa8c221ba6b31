//! Key-value buckets for components, kept in the memory of the provider.
//!
//! A link with this provider as target of `wasi:keyvalue` works without any config. See
//! [`settings`] for what a link may say.
//!
//! # Life
//!
//! The data belongs to the provider: all links that name the same bucket share it, and a bucket
//! stays, with what is in it, when its last link goes, so that a link can be changed, or deleted
//! and put again. It ends with the provider. Two copies of the provider know nothing of each
//! other's data, so one that is meant to be *the* store has to run once.
//!
//! # Buckets
//!
//! The empty name, `default` and the name of the link mean the bucket that the link configures,
//! which is created with the link; any other name means the bucket of that name, which has to
//! exist unless the link allows to create it. Names are made of letters, digits, `-` and `_`.
//! Calls create up to [`MOST_BUCKETS`] buckets.
//!
//! # Keys and values
//!
//! Any text of up to [`LONGEST_KEY`] bytes can be a key. Values come back as they were set.
//! `increment` keeps numbers as decimal text, as far as anybody can see, and increments that happen
//! at the same time all count. A swap fails if anybody has written to the key since it was read,
//! also if it was the same value.
//!
//! A key can have a time after which it goes by itself: one of its own, or that of the link that
//! writes it. A number that is added to keeps the time of its key, unless the link gives times.
//!
//! # Room
//!
//! A bucket is bounded, and so are all of them together. A key takes its own length, the length of
//! its value but at least 20 bytes, and 192 bytes for its keeping. A write for which there is no
//! room is refused with an error that names the bucket and the bound; what was there before is
//! still there. A number that is there can always grow, what is there can always be replaced by
//! something shorter, and nothing is ever thrown out to make room.
//!
//! # Watching
//!
//! A link with this provider as source of `wasi:keyvalue/watcher` tells a component of keys that
//! are set, deleted or over; `bucket` says in which bucket.
//!
//! # Consistency
//!
//! A write is there for every reader once it is answered. A batch is no transaction: its keys are
//! written one after the other, and an error leaves those before it set. Keys are listed in an
//! order that depends on nothing but the key, so paging through them visits every key that stays
//! exactly once, while others write.

mod backend;
mod bucket;
mod buckets;
mod failure;
mod provider;
mod room;
pub mod settings;
mod shard;
mod value;
mod watch;

pub use backend::store;
pub use bucket::LONGEST_KEY;
pub use buckets::MOST_BUCKETS;
pub use provider::KeyValueMemory;
