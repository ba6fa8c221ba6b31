//! Subjects for answers are used again, and no answer reaches another call for it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

mod support;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_nats::{Client, Message};
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_rpc::header::Terms;
use lattice_rpc::{CallError, Invocation};
use support::{Pair, Watch, soon};
use tokio::task::{JoinHandle, JoinSet};

const CALLS: u32 = 300;

fn number(of: u32) -> Bytes {
    Bytes::copy_from_slice(&of.to_be_bytes())
}

/// How often each subject for answers was used in calls of `function`.
async fn used(pair: &Pair, watch: &mut Watch, function: &str) -> HashMap<String, usize> {
    let mut used = HashMap::new();
    for message in watch.messages().await {
        if message.subject.as_str() == pair.subject(function) {
            *used.entry(message.reply.unwrap().to_string()).or_default() += 1;
        }
    }
    used
}

/// Answers calls by hand.
async fn answer<F>(
    pair: &Pair,
    function: &str,
    mut handle: impl FnMut(Client, Message) -> F + Send + 'static,
) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send,
{
    let client = pair.nats.client().await.unwrap();
    let mut requests = client.subscribe(pair.subject(function)).await.unwrap();
    lattice_nats_box::taken_in(&client).await.unwrap();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            handle(client.clone(), request).await;
        }
    })
}

/// Answers as a peer of our kind does, which tells whose answer it is, or as others do.
async fn send_result(client: &Client, request: &Message, tell: bool) {
    let subject = format!("{}.results", request.reply.as_ref().unwrap());
    let result = request.payload.clone();
    if tell {
        let terms = request.headers.as_ref().and_then(Terms::of).unwrap();
        let turn = format!("_TURN.{}", terms.turn.unwrap());
        client
            .publish_with_reply(subject, turn, result)
            .await
            .unwrap();
    } else {
        client.publish(subject, result).await.unwrap();
    }
}

#[tokio::test]
async fn calls_of_one_function_take_turns_with_a_few_subjects() {
    let pair = Pair::start().await;
    let _echo = pair.serve_echo("echo").await;
    let _other = pair.serve_echo("other").await;
    let mut watch = pair.watch().await;
    for n in 0..CALLS {
        let function = if n % 10 == 0 { "other" } else { "echo" };
        let call = pair.caller.call(pair.invocation(function), number(n));
        assert_eq!(call.await.unwrap(), number(n));
    }
    let used = used(&pair, &mut watch, "echo").await;
    assert!(used.len() < 80, "{} subjects", used.len());
    pair.settle().await;
}

/// Calls a function 200 times at once, again and again, and expects the right answer each time.
async fn storm(pair: &Pair, function: &str, calls: u32) {
    let mut open = JoinSet::new();
    for n in 0..calls {
        if open.len() == 200 {
            open.join_next().await.unwrap().unwrap();
        }
        let (caller, call) = (pair.caller.clone(), pair.invocation(function));
        open.spawn(async move {
            assert_eq!(caller.call(call, number(n)).await.unwrap(), number(n));
        });
    }
    for done in open.join_all().await {
        let () = done;
    }
}

#[tokio::test]
async fn who_answers_twice_answers_no_other_call() {
    let pair = Pair::start().await;
    for (function, tell) in [("told", true), ("untold", false)] {
        let twice = answer(&pair, function, move |client, request| async move {
            send_result(&client, &request, tell).await;
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                send_result(&client, &request, tell).await;
            });
        });
        let twice = twice.await;
        storm(&pair, function, 3000).await;
        twice.abort();
    }
    pair.settle().await;
}

#[tokio::test]
async fn a_function_that_was_answered_twice_gets_a_new_subject_for_each_call() {
    let pair = Pair::start().await;
    let twice = answer(&pair, "twice", |client, request| async move {
        send_result(&client, &request, true).await;
        send_result(&client, &request, true).await;
    });
    let twice = twice.await;
    let mut watch = pair.watch().await;
    for n in 0..CALLS {
        let call = pair.caller.call(pair.invocation("twice"), number(n));
        assert_eq!(call.await.unwrap(), number(n));
    }
    // The first may be used again before its second answer has been seen.
    let used = used(&pair, &mut watch, "twice").await;
    assert!(used.len() >= CALLS as usize - 2, "{}", used.len());
    twice.abort();
}

#[tokio::test]
async fn the_subject_of_a_call_that_was_given_up_is_not_used_again() {
    let pair = Pair::start().await;
    let mut late: Option<Message> = None;
    let answering = answer(&pair, "late", move |client, request| {
        let odd = request.payload[3] % 2 == 1;
        let owed = if odd {
            late.take()
        } else {
            late.replace(request.clone())
        };
        async move {
            if let Some(owed) = owed {
                send_result(&client, &owed, true).await;
            }
            if odd {
                send_result(&client, &request, true).await;
            }
        }
    });
    let answering = answering.await;
    let mut watch = pair.watch().await;
    let mut of_given_up = HashSet::new();
    for n in 0..80 {
        let given_up = Invocation::new(pair.subject("late"), soon(5));
        let refused = pair.caller.call(given_up, number(2 * n)).await;
        assert!(
            matches!(refused, Err(CallError::Deadline { .. })),
            "{refused:?}"
        );
        let answered = pair.caller.call(pair.invocation("late"), number(2 * n + 1));
        assert_eq!(answered.await.unwrap(), number(2 * n + 1));
    }
    for message in watch.messages().await {
        if message.subject.as_str() == pair.subject("late") {
            let reply = message.reply.unwrap().to_string();
            if message.payload[3] % 2 == 0 {
                assert!(of_given_up.insert(reply), "a subject is given up twice");
            } else {
                assert!(!of_given_up.contains(&reply), "{reply} is used again");
            }
        }
    }
    assert_eq!(of_given_up.len(), 80);
    answering.abort();
}

#[tokio::test]
async fn a_long_answer_comes_to_a_place_that_is_used_again() {
    let pair = Pair::start().await;
    let _serving = pair
        .serve("grow", |call| async move {
            let length = u32::from_be_bytes(call.params.first()[..].try_into().unwrap());
            let answer = vec![7; length as usize];
            call.responder.reply(answer.into()).await.unwrap();
        })
        .await;
    // More than one message holds, before and after calls whose place may be used again.
    for length in [1, 1, 3 << 20, 1, 1, 5 << 20, 5 << 20, 1] {
        let call = pair.caller.call(pair.invocation("grow"), number(length));
        let answer = call.await.unwrap();
        assert_eq!(answer.len(), length as usize);
        assert!(answer.iter().all(|byte| *byte == 7));
    }
}
