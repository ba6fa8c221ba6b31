//! What bounds a peer, and what it shares with others.

use std::time::Duration;

use tokio::runtime::Handle;

use crate::auth::Auth;
use crate::bulk::BulkConnection;
use crate::failed::FailedCalls;
use crate::local::Switchboard;

/// Limits of a peer. The defaults suit a host and a provider alike.
#[derive(Debug, Clone)]
pub struct PeerConfig {
    /// The most calls, made and served, that may be open at once.
    pub max_open: usize,
    /// The largest parameter list or result list, in bytes.
    pub max_value_bytes: usize,
    /// How far a stream of a peer without flow control may run ahead of its reader, in bytes. Such a
    /// peer sends a whole file as fast as the bus takes it, and nothing can hold it up.
    pub max_buffered_bytes: usize,
    /// How much all open calls may hold for readers together, in bytes. A call that would need
    /// more fails, and so does one that would hold more than it leaves for others.
    pub max_held_bytes: usize,
    /// The credit granted per stream, in bytes.
    pub stream_window: u64,
    /// How long a caller may take nothing of an answer that streams, once its window is full, before the
    /// stream ends: one that does not read, but keeps its connection, holds what its handler holds. HTTP
    /// servers give their clients a minute; a component may be busy for longer before it reads on.
    pub longest_stall: Duration,
    /// When a call that is still running is confirmed to its caller, who may then cancel it.
    pub accept_after: Duration,
    /// How long a cancelled call waits to learn where to send the cancellation.
    pub linger: Duration,
    /// Where served calls go on that have kept their thread busy for more than a millisecond, so
    /// that those which only wait are not kept waiting. `None` leaves them where they are.
    pub long_calls: Option<Handle>,
    /// Peers of this process that are called without NATS.
    pub local: Option<Switchboard>,
    /// What calls over the bus prove with who makes them, and are checked by; without it they prove
    /// nothing, and all are let in.
    pub auth: Option<Auth>,
    /// Who is told of calls that failed without a word of the called side.
    pub failed: Option<FailedCalls>,
    /// How the process connects for long streams. `None` sends them over the connection of calls.
    pub bulk: Option<BulkConnection>,
}

impl Default for PeerConfig {
    fn default() -> Self {
        Self {
            max_open: 65_536,
            max_value_bytes: 64 * 1024 * 1024,
            max_buffered_bytes: 64 * 1024 * 1024,
            max_held_bytes: 512 * 1024 * 1024,
            stream_window: 1024 * 1024,
            longest_stall: Duration::from_secs(180),
            accept_after: Duration::from_millis(10),
            linger: Duration::from_secs(15),
            long_calls: None,
            local: None,
            auth: None,
            failed: None,
            bulk: None,
        }
    }
}

impl PeerConfig {
    /// How much one call may hold for readers: a value, and two streams that have run ahead as far as
    /// they may.
    pub(crate) fn max_held_by_call(&self) -> usize {
        self.max_value_bytes
            .saturating_add(self.max_buffered_bytes.saturating_mul(2))
    }
}
