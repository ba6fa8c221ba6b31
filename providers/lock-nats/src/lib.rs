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
//! acquisition made, which grows with every change of any lock, on top of the time when the bucket
//! was made, in microseconds by the clock of NATS.
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
//! A lock that nobody gives back is deleted when it is over for as long again as it lasted.
//!
//! # When NATS is away
//!
//! Calls fail at once with `unavailable`. Leases go on to run; a lock may be taken by another when
//! NATS is back.
//!
//! # When NATS has lost the bucket
//!
//! A bucket that is gone is made again, at the next call when the connection was lost with it, else
//! within seconds. What holds then:
//!
//! - Fencing numbers go on to grow, for every copy of the provider, since the bucket is made later
//!   than the one that was lost. Should the clock of NATS have been set back by more than the lost
//!   bucket was old, each copy goes on from the highest number that it has seen; one that starts
//!   afterwards knows none.
//! - Locks that were held stay held until their time is over, and their holders may renew and
//!   release them: every copy remembers what it has seen. One that starts afterwards does not.
//! - A change whose answer came after the loss is answered with `unavailable`.
//!
//! Should somebody delete the bucket and make it again while no connection is lost, a copy may take
//! the new bucket for the old one for up to five seconds, and give numbers that do not grow.
//!
//! # When NATS has lost the last changes of the bucket
//!
//! It is the same bucket, restored from a copy or after a loss of power, and gives the numbers of what
//! it has lost to other changes. Every copy of the provider that was there before goes on to count from
//! the highest number that it has seen, and a lock that it has seen held stays held until its time is
//! over. One that starts afterwards knows of none of this.

mod clearing;
mod fences;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod key;
mod locks;
mod provider;
mod record;
pub mod settings;
mod sightings;
mod vault;

pub use provider::LockNats;
