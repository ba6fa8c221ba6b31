//! What hostile peers send to a call, and what is kept of it.

use super::*;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_nats::HeaderMap;

use crate::exchange::{Budget, Release, UNREAD, UntoldEnd};
use crate::outbox::Outgoing;
use crate::peer::PeerConfig;

fn exchange(side: Side) -> Exchange {
    let config = PeerConfig::default();
    exchanges(side, &config).0
}

/// Two calls of one peer, and what they share.
fn exchanges(side: Side, config: &PeerConfig) -> (Exchange, Exchange, Arc<Budget>) {
    let budget = Arc::new(Budget::new(config.max_held_bytes));
    let call = || Exchange::new(side, "f".into(), config, &budget);
    (call(), call(), Arc::clone(&budget))
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
        call.deliver("results", message(&headers, "x"), true);
    }
    assert_eq!(call.ended_paths().len(), MAX_PATHS);
    let call = exchange(Side::Caller);
    for _ in 0..10 {
        let headers = [(header::ENDED, "3,3,1"), (header::MORE, "1")];
        call.deliver("results", message(&headers, "x"), true);
    }
    assert_eq!(call.ended_paths(), [Path::new([3]), Path::new([1])]);
}

#[test]
fn nothing_is_told_of_paths_after_the_end_of_the_answer() {
    let call = exchange(Side::Caller);
    call.deliver("results", message(&[(header::ENDED, "0")], "x"), true);
    call.deliver("results", message(&[(header::ENDED, "1,2")], "x"), true);
    assert_eq!(call.ended_paths(), [Path::new([0])]);
}

#[test]
fn a_greedy_call_leaves_room_for_a_whole_value_of_another() {
    let config = PeerConfig::default();
    let (greedy, honest, budget) = exchanges(Side::Callee, &config);
    let piece = Bytes::from(vec![7; 1 << 20]);
    for at in 0..512 {
        let suffix = format!("params.{}", at % 32);
        greedy.deliver(&suffix, message(&[], piece.clone()), true);
    }
    let failed = greedy.stopped();
    assert!(
        matches!(failed, Some(CallError::TooLarge { .. })),
        "{failed:?}"
    );
    assert!(budget.held() <= config.max_held_by_call());
    for _ in 0..config.max_value_bytes / piece.len() {
        honest.deliver("params", message(&[], piece.clone()), true);
    }
    assert!(honest.stopped().is_none());
}

#[test]
fn what_comes_for_a_reader_that_has_left_is_not_kept() {
    let config = PeerConfig::default();
    let (call, _, budget) = exchanges(Side::Callee, &config);
    call.set_remote(Remote {
        root: "caller".into(),
        window: Some(config.stream_window),
        bulk: None,
    });
    let path = Path::new([0]);
    let piece = Bytes::from(vec![7; 100_000]);
    call.deliver("params.0", message(&[], piece.clone()), true);
    let place = call.leave_unread(&path).unwrap();
    assert_eq!(place.as_str(), "caller.credit.0");
    // A peer that takes it for mere credit sends much more than its window.
    for _ in 0..100 {
        call.deliver("params.0", message(&[], piece.clone()), true);
        assert_eq!(budget.held(), 0);
    }
    assert!(call.stopped().is_none());
    call.deliver("params.0", message(&[], ""), true);
    assert_eq!(call.leave_unread(&path), None, "it has ended");
}

#[test]
fn a_writer_whose_reader_has_left_sends_no_more() {
    let call = exchange(Side::Caller);
    let (path, other) = (Path::new([0]), Path::new([1]));
    call.deliver("credit.0", message(&[], UNREAD.to_string()), true);
    // What was on its way does not take it back.
    call.deliver("credit.0", message(&[], "65536"), true);
    assert!(call.is_unread(&path) && !call.is_unread(&other));
    let cx = Context::from_waker(Waker::noop());
    let credit = call.poll_credit(&path, 0, &cx);
    assert!(matches!(credit, Poll::Ready(Err(CallError::Cancelled))));
    assert!(call.poll_credit(&other, 0, &cx).is_pending());
    assert!(call.stopped().is_none());
}

#[test]
fn a_call_that_has_failed_holds_nothing_more_and_its_value_has_no_end() {
    let config = PeerConfig {
        max_held_bytes: 100_000,
        ..PeerConfig::default()
    };
    let (call, other, budget) = exchanges(Side::Callee, &config);
    let piece = Bytes::from(vec![7; 40_000]);
    for _ in 0..2 {
        call.deliver("params", message(&[], piece.clone()), true);
    }
    let held = budget.held();
    for suffix in ["params", "params.0"] {
        call.deliver(suffix, message(&[], "more"), true);
        call.deliver(suffix, message(&[], ""), true);
    }
    assert_eq!(budget.held(), held);
    let cx = Context::from_waker(Waker::noop());
    let first = call.poll_root(&cx);
    assert!(matches!(first, Poll::Ready(Some(Ok(pieces))) if pieces.len() == 1));
    let then = call.poll_root(&cx);
    assert!(
        matches!(then, Poll::Ready(Some(Err(CallError::Remote(_))))),
        "{then:?}"
    );
    drop(call);
    other.deliver("params", message(&[], piece), true);
    assert!(other.stopped().is_none());
}

#[test]
fn a_broken_connection_for_long_streams_ends_calls_whose_parts_may_have_been_on_it() {
    use crate::bulk::LONG;

    let lost = |size: usize, by_bus: bool, ends: bool| {
        let call = exchange(Side::Caller);
        let piece = vec![7; size];
        call.deliver("results.0", message(&[], piece), by_bus);
        if ends {
            call.deliver("results.0", message(&[], ""), by_bus);
        }
        call.lose_long();
        matches!(call.stopped(), Some(CallError::Incomplete { .. }))
    };
    let long = LONG as usize;
    assert!(lost(long, true, false));
    // One that is short, one that does not come over NATS, and one that is all here.
    assert!(!lost(long - 1, true, false));
    assert!(!lost(long, false, false));
    assert!(!lost(long, true, true));
}

#[test]
fn the_end_of_a_stream_tells_of_a_part_that_was_lost() {
    let is_lost = |offset: &str, payload: &'static str| {
        let call = exchange(Side::Callee);
        call.deliver("params.0", message(&[], "0123"), true);
        let last = message(&[(header::OFFSET, offset)], payload);
        call.deliver("params.0", last, true);
        matches!(call.stopped(), Some(CallError::Incomplete { .. }))
    };
    for payload in ["", "4567"] {
        assert!(!is_lost("4/0", payload));
        // What nobody can read tells nothing, as that of an older peer.
        assert!(!is_lost("8", payload));
        assert!(is_lost("8/0", payload) && is_lost("0/0", payload));
    }
}

#[test]
fn less_than_the_other_end_has_sent_is_a_gap() {
    let is_lost = |sent: &'static str| {
        let call = exchange(Side::Caller);
        call.deliver("results.0", message(&[], "0123"), true);
        call.deliver("results.2", message(&[], ""), true);
        call.deliver(ALIVE, message(&[], sent), true);
        matches!(call.stopped(), Some(CallError::Incomplete { .. }))
    };
    for sent in ["", "0=4", "0=3", "0=4;1=0", "2=7", "x", "0=x;y=5"] {
        assert!(!is_lost(sent), "{sent}");
    }
    for sent in ["0=5", "1=1", "0=4;0.1=7", "x;0=5"] {
        assert!(is_lost(sent), "{sent}");
    }
}

#[test]
fn who_asks_the_other_end_tells_it_what_was_sent() {
    let call = exchange(Side::Callee);
    call.set_remote(Remote {
        root: "_INBOX.caller".into(),
        window: Some(1),
        bulk: None,
    });
    let asked = || (0..8).find_map(|_| call.ask(|_| false)).unwrap();
    assert!(asked().sent.is_empty());
    call.has_sent(&Path::new([0]), 5);
    call.has_sent(&Path::new([0, 1]), 7);
    call.has_sent(&Path::new([0]), 9);
    let question = asked();
    assert_eq!(question.subject.as_str(), "_INBOX.caller.alive");
    assert_eq!(question.sent, "0=9;0.1=7");
}

#[test]
fn a_call_that_was_given_up_keeps_its_slot_until_it_is_over_or_can_be_told() {
    let after = |suffix: &str, sent: Message| {
        let call = exchange(Side::Caller);
        assert!(matches!(call.release(), Release::Linger));
        call.deliver(suffix, sent, true)
    };
    let more = after("results", message(&[(header::MORE, "1")], "x"));
    assert!(matches!(more, Delivered::Done), "{more:?}");
    let accepted = after("", message(&[(header::WINDOW, "1")], ""));
    assert!(matches!(accepted, Delivered::CancelAt(_)), "{accepted:?}");
    for (suffix, sent) in [
        ("results", message(&[], "x")),
        ("", message(&[(header::ERROR, "failed")], "")),
        // A 1.9 peer, which knows no cancel.
        ("", message(&[], "")),
    ] {
        let ended = after(suffix, sent);
        assert!(matches!(ended, Delivered::Ended), "{ended:?}");
    }
    let held = exchange(Side::Caller);
    let answered = held.deliver("results", message(&[], "x"), true);
    assert!(matches!(answered, Delivered::Done), "{answered:?}");
}

/// A call whose parameters, and two streams among them, have ends that are untold.
fn with_untold_ends() -> Exchange {
    let call = exchange(Side::Caller);
    for end in [
        UntoldEnd::empty(Path::new([0, 0])),
        UntoldEnd::broken(Path::new([1])),
        UntoldEnd::params(),
        UntoldEnd::params(),
    ] {
        call.note_end(end);
    }
    call
}

/// What is sent, and where.
fn told(ends: &[DeferredSend]) -> Vec<(&str, &[u8])> {
    let told = ends.iter().map(|end| (end.subject.as_str(), &*end.payload));
    told.collect()
}

#[test]
fn a_callee_of_1_9_is_told_of_every_end_when_its_call_is_given_up() {
    let params = format!("{}.params", header::write_turn(0));
    let (empty, broken) = (format!("{params}.0.0"), format!("{params}.1"));
    let (zero, nothing): (&[u8], &[u8]) = (&[0], &[]);
    let all = [
        (empty.as_str(), zero),
        (broken.as_str(), nothing),
        (params.as_str(), nothing),
    ];
    let late = with_untold_ends();
    assert!(matches!(late.release(), Release::Linger));
    let accepted = late.deliver("", message(&[], ""), true);
    assert!(matches!(&accepted, Delivered::EndAt(ends) if told(ends) == all));
    let early = with_untold_ends();
    early.deliver("", message(&[], ""), true);
    let released = early.release();
    assert!(matches!(&released, Release::TellEnds(ends) if told(ends) == all));
    assert!(early.take_untold_ends().is_empty(), "told twice");
    let told_each = with_untold_ends();
    told_each.deliver("", message(&[], ""), true);
    let cx = Context::from_waker(Waker::noop());
    for (subject, end) in all {
        let Poll::Ready((at, untold)) = told_each.poll_untold_end(&cx) else {
            panic!("nothing is untold");
        };
        assert_eq!((at.as_str(), &*untold.end), (subject, end));
        told_each.end_told(&untold);
    }
    assert!(told_each.poll_untold_end(&cx).is_pending());
    assert!(matches!(told_each.release(), Release::Free));
}

#[test]
fn a_callee_of_our_kind_is_not_told_of_ends() {
    let granted = || message(&[(header::WINDOW, "1")], "");
    let cx = Context::from_waker(Waker::noop());
    let call = with_untold_ends();
    call.deliver("", granted(), true);
    assert!(call.poll_untold_end(&cx).is_pending() && call.take_untold_ends().is_empty());
    assert!(matches!(call.release(), Release::Cancel(_)));
    let late = with_untold_ends();
    assert!(matches!(late.release(), Release::Linger));
    let accepted = late.deliver("", granted(), true);
    assert!(matches!(accepted, Delivered::CancelAt(_)), "{accepted:?}");
    let answered = with_untold_ends();
    answered.deliver("results", message(&[], "x"), true);
    assert!(matches!(answered.release(), Release::Clean));
}

#[test]
fn the_end_of_the_parameters_is_owed_however_many_streams_are() {
    let call = exchange(Side::Caller);
    for at in 0..1000 {
        call.note_end(UntoldEnd::broken(Path::new([at])));
    }
    call.note_end(UntoldEnd::params());
    call.deliver("", message(&[], ""), true);
    let ends = call.take_untold_ends();
    assert_eq!(ends.len(), MAX_PATHS + 1);
    let params = format!("{}.params", header::write_turn(0));
    let nothing: &[u8] = &[];
    assert_eq!(told(&ends).last(), Some(&(params.as_str(), nothing)));
}
