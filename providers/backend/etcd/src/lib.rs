//! A client of etcd over its JSON gateway: keys, transactions, leases, watches.
//!
//! Every etcd from 3.4 on answers plain HTTP beside gRPC, which saves a provider the whole stack of
//! the latter. Keys and values are bytes here; the gateway's base64 and its numbers in quotes stay
//! inside.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use lattice_etcd::{Compare, Etcd, EtcdOptions, Op, Put, Range, Txn};
//! # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
//! let etcd = Etcd::new(EtcdOptions::at(["http://127.0.0.1:2379"]))?;
//! etcd.put(Put::new("colour", "blue")).await?;
//! let found = etcd.range(Range::key("colour")).await?;
//! assert_eq!(found.pairs[0].value, "blue");
//!
//! let lease = etcd.grant(Duration::from_secs(10)).await?;
//! let txn = Txn::when(Compare::absent("leader"))
//!     .then(Op::Put(Put::new("leader", "me").lease(lease.id)));
//! let mine = etcd.txn(txn).await?.succeeded;
//! # let _ = mine;
//! # Ok(()) }
//! ```
//!
//! # Several endpoints
//!
//! A client keeps to one endpoint until it cannot be reached or says that it is no use, and then
//! takes the next. What surely had no effect is asked again there at once; a write that may have
//! had one is not: its error says [`EtcdError::may_have_happened`].
//!
//! # Logins
//!
//! With a user the client gets a token at its first request, and a new one when etcd has forgotten
//! it.

mod client;
mod endpoint;
mod error;
mod kv;
mod lease;
mod lines;
mod login;
mod settings;
mod txn;
mod watch;
mod wire;

pub use client::{Etcd, EtcdOptions, Status};
pub use endpoint::InvalidEndpoint;
pub use error::{Code, EtcdError, OpenError};
pub use kv::{Delete, Deleted, Pair, Put, PutDone, Range, Ranged, SortBy, prefix_end};
pub use lattice_backend_http::{HttpError, TlsError, TlsOptions};
pub use lease::{Granted, Remaining};
pub use txn::{Compare, Done, Op, Relation, Txn, TxnDone};
pub use watch::{Event, EventKind, Events, Watch, Watching};
