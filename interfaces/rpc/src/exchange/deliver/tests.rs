//! What hostile peers send to a call, and what is kept of it.

use super::*;

use std::sync::Arc;

use async_nats::HeaderMap;

use crate::exchange::Budget;
use crate::outbox::Outgoing;
use crate::peer::PeerConfig;

fn exchange(side: Side) -> Exchange {
    let config = PeerConfig::default();
    let budget = Arc::new(Budget::new(config.max_held_bytes));
    Exchange::new(side, "f".into(), &config, &budget)
}

fn message(headers: &[(&'static str, &str)], payload: impl Into<Bytes>) -> Message {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        header::put(&mut map, name, value);
    }
    let message = Outgoing {
        headers: Some(map),
        payload: payload.into(),
        ..Outgoing::reply("f".into(), header::write_turn(0))
    };
    message.arrived()
}

/// The header that tells of thirty-two paths, from `first` on.
fn ended(first: usize) -> String {
    let paths: Vec<_> = (first..first + 32).map(|at| at.to_string()).collect();
    paths.join(",")
}

#[test]
fn no_more_ended_paths_are_kept_than_a_call_has_streams() {
    let call = exchange(Side::Caller);
    for first in 0..1000 {
        let headers = [(header::ENDED, &*ended(first)), (header::MORE, "1")];
        call.deliver("results", message(&headers, "x"));
    }
    assert_eq!(call.ended_paths().len(), MAX_PATHS);
    let call = exchange(Side::Caller);
    for _ in 0..10 {
        let headers = [(header::ENDED, "3,3,1"), (header::MORE, "1")];
        call.deliver("results", message(&headers, "x"));
    }
    assert_eq!(call.ended_paths(), [Path::new([3]), Path::new([1])]);
}

#[test]
fn nothing_is_told_of_paths_after_the_end_of_the_answer() {
    let call = exchange(Side::Caller);
    call.deliver("results", message(&[(header::ENDED, "0")], "x"));
    call.deliver("results", message(&[(header::ENDED, "1,2")], "x"));
    assert_eq!(call.ended_paths(), [Path::new([0])]);
}
