//! Messages that are resources: how they travel, and through which link.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use lattice_codec::{Reader, write};
use lattice_runtime::{Component, ComponentOptions, ExportKind, InvokeError};
use support::{
    Answer, Called, FakeEnv, FakeInvoke, call, encoded, find, guest, prepare, prepare_in,
};

const HANDLER: &str = "wasmcloud:messaging/handler@0.2.0";
const OWN_HANDLER: &str = "lattice:messaging/handler@0.1.0";
const OWN: &str = "lattice:messaging/producer@0.1.0";
const CONSUMER: &str = "wasmcloud:messaging/consumer@0.2.0";

/// A broker that takes everything, and answers with what was asked.
fn broker() -> Arc<FakeInvoke> {
    FakeInvoke::new(
        |called: Called| match (&*called.instance, &*called.function) {
            (OWN, "request") => Ok(answers(&called)),
            (OWN, _) | (CONSUMER, "publish") => Ok(encoded(|out| write::bool(out, false))),
            _ => Err(not_served(&called)),
        },
    )
}

/// As many answers as were expected, with what the request had.
fn answers(called: &Called) -> Bytes {
    let mut read = Reader::new(called.params.clone());
    let message = read_own(&mut read);
    let (timeout, expected) = (read.u32().unwrap(), read.u32().unwrap());
    encoded(|out| {
        write::bool(out, false);
        write::uleb(out, expected.into());
        for number in 0..expected {
            let body = format!("{} {number} for {timeout}", message.0);
            own_into(
                out,
                (
                    "inbox",
                    None,
                    message.2.as_deref(),
                    &message.3,
                    body.as_bytes(),
                ),
            );
        }
    })
}

/// A broker of 1.x.
fn plain_broker() -> Arc<FakeInvoke> {
    FakeInvoke::new(|called: Called| {
        if called.instance != CONSUMER {
            return Err(not_served(&called));
        }
        Ok(encoded(|out| {
            write::bool(out, false);
            if called.function == "request" {
                let mut read = Reader::new(called.params.clone());
                let subject = read.string().unwrap();
                assert_eq!(&read.bytes().unwrap()[..], b"?");
                write::string(out, "inbox");
                write::bytes(
                    out,
                    format!("{subject} for {}", read.u32().unwrap()).as_bytes(),
                );
                write::option(out, None::<&str>, write::string);
            }
        }))
    })
}

fn not_served(called: &Called) -> InvokeError {
    InvokeError::NotServed {
        target: "broker".to_owned(),
        function: format!("{}.{}", called.instance, called.function),
    }
}

type Pairs = Vec<(String, String)>;
type Read = (String, Option<String>, Option<String>, Pairs, Bytes);
type Parts<'a> = (
    &'a str,
    Option<&'a str>,
    Option<&'a str>,
    &'a Pairs,
    &'a [u8],
);

fn read_own(r: &mut Reader) -> Read {
    let subject = r.string().unwrap();
    let (reply_to, content_type) = (r.option(Reader::string), r.option(Reader::string));
    let count = r.count(2).unwrap();
    let pairs = (0..count).map(|_| (r.string().unwrap(), r.string().unwrap()));
    let pairs = pairs.collect();
    let body = r.bytes().unwrap();
    (
        subject,
        reply_to.unwrap(),
        content_type.unwrap(),
        pairs,
        body,
    )
}

fn own_into(out: &mut BytesMut, (subject, reply_to, content_type, pairs, body): Parts<'_>) {
    write::string(out, subject);
    write::option(out, reply_to, write::string);
    write::option(out, content_type, write::string);
    write::uleb(out, pairs.len() as u64);
    for (name, value) in pairs {
        write::string(out, name);
        write::string(out, value);
    }
    write::bytes(out, body);
}

fn pairs(pairs: &[(&str, &str)]) -> Pairs {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

fn own(parts: Parts<'_>) -> Bytes {
    encoded(|out| own_into(out, parts))
}

async fn run(component: &Component, what: &str) -> String {
    let params = encoded(|out| write::string(out, what));
    let answer = call(component, "", "run", params).await.unwrap();
    Reader::new(answer).string().unwrap()
}

fn message(subject: &str, body: &[u8], reply_to: Option<&str>) -> Bytes {
    encoded(|out| {
        write::string(out, subject);
        write::bytes(out, body);
        write::option(out, reply_to, write::string);
    })
}

async fn messages(invoke: &Arc<FakeInvoke>) -> Component {
    prepare(
        guest("messages-by-handle"),
        ComponentOptions::default(),
        Arc::clone(invoke),
    )
    .await
}

/// A component with these links, by their names and interfaces.
async fn linked(invoke: &Arc<FakeInvoke>, links: &[(&str, &str)]) -> Component {
    let mut env = FakeEnv::default();
    env.links = pairs(links);
    prepare_in(
        guest("messages-by-handle"),
        ComponentOptions::default(),
        Arc::clone(invoke),
        Arc::new(env),
    )
    .await
}

#[tokio::test]
async fn messages_travel_with_metadata_and_content_type() {
    let invoke = broker();
    let component = messages(&invoke).await;
    assert_eq!(run(&component, "send all").await, "Ok(())");
    let calls = invoke.calls();
    assert_eq!((&*calls[0].instance, &*calls[0].function), (OWN, "publish"));
    let kept = pairs(&[("key", "value"), ("key", "more")]);
    let sent = own(("topic", None, Some("text/plain"), &kept, b"hi"));
    assert_eq!((calls.len(), &calls[0].params), (1, &sent));
}

#[tokio::test]
async fn a_link_of_the_package_that_is_imported_comes_first() {
    const WASI: &str = "wasi:messaging/producer";
    const OLD: &str = "wasmcloud:messaging/producer";
    const USUAL: &str = "wasmcloud:messaging/consumer";
    for (links, what, lookup, name) in [
        (
            &[("default", WASI), ("default", USUAL)][..],
            "send",
            WASI,
            "default",
        ),
        (&[("default", USUAL)], "send", USUAL, "default"),
        (
            &[("default", OLD), ("default", USUAL)],
            "send by the old name",
            OLD,
            "default",
        ),
        (
            &[("default", WASI), ("default", USUAL)],
            "send by the old name",
            USUAL,
            "default",
        ),
        (
            &[("other", USUAL), ("default", WASI)],
            "send through `other`",
            USUAL,
            "other",
        ),
        (
            &[("chosen", WASI), ("default", WASI), ("default", USUAL)],
            "send by the chosen link",
            WASI,
            "chosen",
        ),
        (
            &[("chosen", USUAL), ("default", WASI)],
            "send by the chosen link",
            USUAL,
            "chosen",
        ),
        // Where there is none, the one that was meant is named.
        (
            &[("default", USUAL)],
            "send by the chosen link",
            WASI,
            "chosen",
        ),
        (&[], "send", WASI, "default"),
    ] {
        let invoke = broker();
        let component = linked(&invoke, links).await;
        assert_eq!(run(&component, what).await, "Ok(())", "{links:?}");
        let call = &invoke.calls()[0];
        assert_eq!(
            (&*call.lookup, &*call.link_name),
            (lookup, name),
            "{links:?}: {what}"
        );
    }
}

#[tokio::test]
async fn a_provider_of_1_x_is_spoken_to_in_its_form() {
    let invoke = plain_broker();
    let component = messages(&invoke).await;
    // What has nothing besides subject and body goes as it went in 1.x.
    assert_eq!(run(&component, "send").await, "Ok(())");
    let instances = |invoke: &FakeInvoke| {
        let calls = invoke.calls().into_iter();
        calls.map(|call| call.instance).collect::<Vec<_>>()
    };
    assert_eq!(instances(&invoke), [CONSUMER]);
    assert_eq!(invoke.calls()[0].params, message("topic", b"hi", None));
    // An answer may have more. It is not asked for the other form again and again.
    for _ in 0..2 {
        assert_eq!(run(&component, "ask one").await, "inbox=topic for 250");
    }
    assert_eq!(instances(&invoke)[1..], [OWN, CONSUMER, CONSUMER]);
    assert_eq!(run(&component, "ask none").await, "");
    assert_eq!(instances(&invoke)[4..], [CONSUMER]);
}

#[tokio::test]
async fn what_would_be_lost_on_the_way_is_refused_by_name() {
    let invoke = plain_broker();
    let component = messages(&invoke).await;
    let refused = run(&component, "send metadata").await;
    let names = refused.contains("metadata, such as `key`") && refused.contains("`broker`");
    assert!(names, "{refused}");
    let refused = run(&component, "ask two").await;
    assert!(refused.contains("2 replies"), "{refused}");
    let calls = invoke.calls();
    assert!(calls.iter().all(|call| call.instance == OWN), "{calls:?}");
}

#[tokio::test]
async fn nobody_is_remembered_who_serves_neither_form() {
    let invoke = FakeInvoke::new(|called: Called| Err(not_served(&called)));
    let component = messages(&invoke).await;
    for _ in 0..2 {
        let refused = run(&component, "send").await;
        assert!(refused.contains("Connection"), "{refused}");
    }
    for _ in 0..2 {
        let refused = run(&component, "ask one").await;
        assert!(refused.contains("Connection"), "{refused}");
    }
    let calls = invoke.calls();
    assert_eq!(calls.iter().filter(|call| call.instance == OWN).count(), 4);
}

/// How often each function of our own form was called.
fn own_calls(invoke: &FakeInvoke, function: &str) -> usize {
    let calls = invoke.calls().into_iter();
    let own = calls.filter(|call| call.instance == OWN && call.function == function);
    own.count()
}

/// A broker whose answers in our own form are late as long as `late` says so, and which says whether
/// it serves that form as `offered` does.
fn late_broker(
    late: &Arc<AtomicBool>,
    offered: impl Fn() -> Answer + Send + Sync + 'static,
) -> Arc<FakeInvoke> {
    let late = Arc::clone(late);
    FakeInvoke::with(move |called| match (&*called.instance, &*called.function) {
        (OWN, "offered") => offered(),
        (OWN, _) if late.load(Ordering::Relaxed) => Box::pin(async { Err(InvokeError::Deadline) }),
        _ => Box::pin(async { Ok(encoded(|out| write::bool(out, false))) }),
    })
}

fn silence() -> Answer {
    Box::pin(std::future::pending())
}

fn served() -> Answer {
    Box::pin(async { Ok(Bytes::new()) })
}

#[tokio::test]
async fn who_neither_answers_nor_says_what_it_serves_is_spoken_to_in_the_form_of_1_x() {
    // Where somebody listens to all calls, nobody says that a function is not served.
    let invoke = late_broker(&Arc::new(true.into()), silence);
    let component = messages(&invoke).await;
    let late = run(&component, "send all").await;
    assert!(late.contains("Timeout"), "{late}");
    for _ in 0..2 {
        let refused = run(&component, "send metadata").await;
        assert!(refused.contains("metadata, such as `key`"), "{refused}");
    }
    assert_eq!(run(&component, "send").await, "Ok(())");
    assert_eq!(own_calls(&invoke, "publish"), 1);
    assert_eq!(own_calls(&invoke, "offered"), 1);
}

#[tokio::test]
async fn who_is_late_is_asked_before_it_is_taken_for_a_peer_of_1_x() {
    let late = Arc::new(AtomicBool::new(true));
    let invoke = late_broker(&late, served);
    let component = messages(&invoke).await;
    let timeout = run(&component, "send all").await;
    assert!(timeout.contains("Timeout"), "{timeout}");
    late.store(false, Ordering::Relaxed);
    for _ in 0..2 {
        assert_eq!(run(&component, "send metadata").await, "Ok(())");
    }
    assert_eq!(own_calls(&invoke, "publish"), 3);
    assert_eq!(own_calls(&invoke, "offered"), 1);
    assert!(invoke.calls().iter().all(|call| call.instance == OWN));
}

#[tokio::test]
async fn who_has_answered_is_not_taken_for_another_after_some_silence() {
    let late = Arc::new(AtomicBool::new(false));
    let invoke = late_broker(&late, silence);
    let mut env = FakeEnv::default();
    env.links = pairs(&[("default", "wasi:messaging/producer")]);
    let env = Arc::new(env);
    let options = ComponentOptions::default();
    let guest = guest("messages-by-handle");
    let component = prepare_in(guest, options, Arc::clone(&invoke), Arc::clone(&env)).await;
    assert_eq!(run(&component, "send all").await, "Ok(())");
    late.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        let timeout = run(&component, "send all").await;
        assert!(timeout.contains("Timeout"), "{timeout}");
    }
    late.store(false, Ordering::Relaxed);
    assert_eq!(run(&component, "send metadata").await, "Ok(())");
    assert_eq!(own_calls(&invoke, "offered"), 2);
    // Who is there now has answered nothing yet.
    env.version.fetch_add(1, Ordering::Relaxed);
    late.store(true, Ordering::Relaxed);
    let timeout = run(&component, "send all").await;
    assert!(timeout.contains("Timeout"), "{timeout}");
    let refused = run(&component, "send metadata").await;
    assert!(refused.contains("metadata, such as `key`"), "{refused}");
    assert_eq!(own_calls(&invoke, "offered"), 3);
}

#[tokio::test]
async fn a_request_has_the_timeout_of_its_options_and_as_many_answers() {
    let invoke = broker();
    let component = messages(&invoke).await;
    assert_eq!(run(&component, "ask one").await, "inbox=topic 0 for 250");
    assert_eq!(run(&component, "ask").await, "inbox=topic 0 for 5000");
    assert_eq!(
        run(&component, "ask two").await,
        "inbox=topic 0 for 250,inbox=topic 1 for 250"
    );
    assert_eq!(run(&component, "ask none").await, "");
    let functions: Vec<_> = invoke.calls().into_iter().map(|c| c.function).collect();
    assert_eq!(functions, ["request", "request", "request", "publish"]);
}

#[tokio::test]
async fn the_parts_of_a_message_are_kept() {
    let component = messages(&broker()).await;
    let fields = run(&component, "fields").await;
    let expected = r#"two None Some("text/plain") Some([("b", "2")])"#;
    assert_eq!(fields, expected);
}

#[tokio::test]
async fn an_incoming_handler_is_told_of_metadata_and_content_type() {
    let invoke = broker();
    let component = messages(&invoke).await;
    assert_eq!(
        find(&component, OWN_HANDLER, "handle").kind(),
        ExportKind::Messaging
    );
    let kept = pairs(&[("a", "1"), ("b", "2")]);
    let asks = own((
        "news",
        Some("inbox.1"),
        Some("text/plain"),
        &kept,
        b"\x00\xff",
    ));
    let done = call(&component, OWN_HANDLER, "handle", asks).await.unwrap();
    assert_eq!(&done[..], [0]);
    let answer = own(("inbox.1", None, Some("text/plain"), &kept, b"\x00\xff"));
    assert_eq!(invoke.calls()[0].params, answer);
    let refused = own(("refused", None, None, &Vec::new(), b""));
    let refused = call(&component, OWN_HANDLER, "handle", refused).await;
    let mut read = Reader::new(refused.unwrap());
    assert!(read.result_is_err().unwrap());
    assert_eq!(read.case("error", 4).unwrap(), 2);
    assert_eq!(read.string().unwrap(), "not for me");
}

#[tokio::test]
async fn an_incoming_handler_is_served_as_the_handler_of_1_x_too() {
    let invoke = broker();
    let component = messages(&invoke).await;
    assert_eq!(
        find(&component, HANDLER, "handle-message").kind(),
        ExportKind::Messaging
    );
    let asks = message("news", b"\x00\xff", Some("inbox.1"));
    let done = call(&component, HANDLER, "handle-message", asks)
        .await
        .unwrap();
    assert_eq!(&done[..], [0]);
    let answer = message("inbox.1", b"\x00\xff", None);
    assert_eq!(invoke.calls()[0].params, answer);
    let quiet = message("news", b"", None);
    let done = call(&component, HANDLER, "handle-message", quiet)
        .await
        .unwrap();
    assert_eq!((&done[..], invoke.calls().len()), (&[0][..], 1));
    let refused = message("refused", b"", None);
    let refused = call(&component, HANDLER, "handle-message", refused)
        .await
        .unwrap();
    let mut read = Reader::new(refused);
    assert!(read.result_is_err().unwrap());
    assert_eq!(read.string().unwrap(), "permission denied: not for me");
}
