//! Commands against a lattice of hosts that answer over a real NATS server.

#[path = "../common/mod.rs"]
mod common;
mod components;
mod hosts;
mod links;
mod providers;

use common::Outcome;
use common::fake::host_id;

/// The outcome with names in the place of the hosts' ids.
fn named(outcome: Outcome) -> Outcome {
    let ids = [(0, "[HOST1]"), (1, "[HOST2]"), (2, "[HOST3]")];
    ids.into_iter().fold(outcome, |outcome, (n, name)| {
        outcome.without(host_id(n).as_str(), name)
    })
}
