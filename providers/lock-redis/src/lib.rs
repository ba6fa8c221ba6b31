//! Locks and leaders for components, kept in Redis or a server that speaks its protocol.
//!
//! A link with this provider as target of `lattice:lock` or `wasi:distributed-lock` lets a component
//! acquire locks; a link with it as source has it campaign for a component, which exports
//! `lattice:lock/leader`. What links say is in [`settings`] and in [`lattice_provider_sdk::lock`].
//!
//! # How a lock is kept
//!
//! A lock is a key with a time to live, set only where there is none. Acquiring, renewing and
//! releasing are one script each, so that nothing comes in between: the number that fences is taken
//! in the same script that sets the key, and a key is changed only by the secret that is in it.
//! Whoever releases publishes it, which wakes one waiter in each copy of the provider.
//!
//! # Fencing numbers
//!
//! There is one counter for each store. It never falls behind the milliseconds of the server's
//! clock, so that the numbers grow even when the server has lost its data, unless its clock was set
//! back.
//!
//! # What Redis promises
//!
//! One server that keeps its data gives a lock to one holder at a time. A failover to a replica, or
//! a start without the data, may forget a lock, and then there can be two holders: the one who came
//! later has the greater fence, which is what the guarded store has to look at. Where that is not
//! enough, use etcd or NATS; a link can ask for it by `require = "consistency=linearizable"`.

mod connection;
mod locks;
mod provider;
mod scripts;
pub mod settings;

pub use provider::LockRedis;
