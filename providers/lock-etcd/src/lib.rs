//! Locks and leaders for components, kept in etcd.
//!
//! A link with this provider as target of `lattice:lock` or `wasi:distributed-lock` lets a component
//! acquire locks; a link with it as source has it campaign for a component, which exports
//! `lattice:lock/leader`. What links say is in [`settings`] and in [`lattice_provider_sdk::lock`].
//!
//! # How a lock is kept
//!
//! Everyone who is after a lock writes a key of its own below that of the lock, with a lease. The
//! key that came to be first holds the lock; the others wait for the one before them to go. So the
//! lock is given in the order in which they came, in the whole lattice, and a release wakes one
//! waiter. The fencing number is the revision at which the holder's key came to be, on top of the time
//! at which the first lock of all was taken, in microseconds. A key ends with its lease, by etcd's own
//! clock alone. Those who wait have a short one, of four seconds, which the provider keeps alive, and
//! get the lease that they want with the lock; so a provider that dies holds nobody up for longer than
//! that.
//!
//! etcd counts leases in whole seconds, and has a shortest one of two, set up as it is by default: a
//! shorter time is made longer, which the lease tells. It notices the end of one up to a second
//! late.
//!
//! # When etcd is away
//!
//! A member that does not answer is left for the next one of `endpoints`. Without any, calls fail
//! with `unavailable`. An etcd that has a new leader begins all leases anew, so that locks may last
//! longer than told, but never shorter.
//!
//! # When etcd has lost its data, or was restored from a copy
//!
//! Its revisions begin again, but fencing numbers go on to grow. Every lock is taken only as long as
//! the time that they are counted from stands in etcd as the provider knows it, under the key `made`
//! below the prefix; it is written anew where it is lost, and where a copy of the provider gets a
//! revision that is not above all it has seen. So nobody may delete that key or set it back. If all
//! copies were started after an etcd was restored, none knows that it was.

mod fences;
mod line;
mod locks;
mod names;
mod provider;
pub mod settings;

pub use provider::LockEtcd;
