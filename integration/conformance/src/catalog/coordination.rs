//! What gives out locks, and what keeps jobs for their time.

use lattice_services::Kind;
use serde_json::{Value, json};

use super::backend::{Backend, and, url};
use crate::ground::Ground;

impl Backend {
    /// One that has the component lead.
    const fn campaigning(self) -> Self {
        Self {
            source_config: Some(election),
            settings: elected,
            ..self
        }
    }
}

/// The lock that makes the component a leader.
const ELECTION: &str = "suite-chief";

pub(super) const LOCK: &[Backend] = &[
    Backend::lattice("nats", "lock-nats").campaigning(),
    Backend::of("etcd", "lock-etcd", Kind::Etcd, url).campaigning(),
    Backend::of("redis", "lock-redis", Kind::Redis, url).campaigning(),
    Backend::lattice("nats", "lock-nats")
        .campaigning()
        .on_old_nats("nats-2.9"),
];

/// The same for who does not want to lead.
pub(super) const LOCK_WASI: &[Backend] = &[
    Backend::lattice("nats", "lock-nats"),
    Backend::of("etcd", "lock-etcd", Kind::Etcd, url),
    Backend::of("redis", "lock-redis", Kind::Redis, url),
    Backend::lattice("nats", "lock-nats").on_old_nats("nats-2.9"),
];

fn election(ground: &Ground) -> Value {
    and(
        url(ground),
        json!({ "election": ELECTION, "ttl_ms": "3000" }),
    )
}

fn elected(_: &Ground) -> Vec<(String, String)> {
    vec![("election".to_owned(), ELECTION.to_owned())]
}

/// Ticks come through the link of the one who puts the jobs.
pub(super) const SCHEDULE: &[Backend] = &[
    Backend::lattice("nats", "schedule-nats"),
    Backend::lattice("nats", "schedule-nats").on_old_nats("nats-2.9"),
];
