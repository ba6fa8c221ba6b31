//! Locks and leaders for components, kept in a key-value bucket of NATS JetStream.
//!
//! A link with this provider as target of `lattice:lock` lets a component acquire locks; a link
//! with it as source has it campaign for a component, which exports `lattice:lock/leader`. What
//! links say is in [`settings`] and in [`lattice_provider_sdk::lock`].
//!
//! # How a lock is kept
//!
//! A lock is a key of the bucket; its value says who holds it and for how long. Every change
//! compares the revision of the key with the one that was read, from the leader of the stream, so
//! that of several who are after a lock one succeeds. The fencing number is the revision that the
//! acquisition made, which is the sequence of the stream: it grows with every change of any lock,
//! for as long as the bucket lives.
//!
//! # How a lock ends by itself
//!
//! No clock of one machine is compared with that of another. Whoever is after a lock may take it
//! when it has itself watched the same revision for as long as the lock lasts, by its own clock from
//! the moment it saw the revision first. This is safe:
//!
//! - The holder counts from before it sent its last renewal. The renewal reached the stream later
//!   than that, and was seen by the watcher later still. So when the watcher has counted to the end,
//!   the holder has too: it is enough that both clocks run at the same rate.
//! - A renewal that comes meanwhile makes another revision, and then the comparison fails: the one
//!   who would take the lock does not get it.
//! - A holder whose renewal fails because of a new revision is told that it does not hold the lock.
//!
//! A copy of the provider watches the bucket from its start, so it needs no further time when the
//! holder has been silent for long. Only one that has just started waits for a whole time.
//!
//! # When NATS is away
//!
//! Calls fail at once with `unavailable`. Leases go on to run; a lock may be taken by another when
//! NATS is back.

mod key;
mod locks;
mod provider;
mod record;
pub mod settings;
mod sightings;
mod vault;

pub use provider::LockNats;
