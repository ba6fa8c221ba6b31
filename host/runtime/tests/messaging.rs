//! Messages that are resources, which travel as `wasmcloud:messaging@0.2.0`.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use lattice_codec::{Reader, write};
use lattice_runtime::{Component, ComponentOptions, ExportKind, InvokeError};
use support::{Called, FakeInvoke, call, encoded, find, guest, prepare};

const HANDLER: &str = "wasmcloud:messaging/handler@0.2.0";

/// A broker that takes everything, and answers with what was asked.
fn broker() -> Arc<FakeInvoke> {
    FakeInvoke::new(|called: Called| {
        if called.link_name == "other" {
            return Err(InvokeError::NoLink {
                link_name: called.link_name,
                instance: called.lookup,
            });
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

#[tokio::test]
async fn messages_by_handle_are_sent_through_the_link_of_their_client() {
    let invoke = broker();
    let component = messages(&invoke).await;
    assert_eq!(run(&component, "send").await, "Ok(())");
    assert_eq!(run(&component, "send by the old name").await, "Ok(())");
    let calls = invoke.calls();
    assert_eq!(calls[0].lookup, "wasmcloud:messaging/consumer");
    assert_eq!(calls[0].instance, "wasmcloud:messaging/consumer@0.2.0");
    assert_eq!(
        (&*calls[0].function, &*calls[0].link_name),
        ("publish", "default")
    );
    assert_eq!(calls[0].params, message("topic", b"hi", None));
    assert_eq!(calls[1].params, message("topic", b"old", None));
    let refused = run(&component, "send through `other`").await;
    assert!(
        refused.contains("Connection") && refused.contains("`other`"),
        "{refused}"
    );
}

#[tokio::test]
async fn what_would_be_lost_on_the_way_is_refused_by_name() {
    let invoke = broker();
    let component = messages(&invoke).await;
    let refused = run(&component, "send metadata").await;
    assert!(refused.contains("metadata, such as `key`"), "{refused}");
    let refused = run(&component, "ask two").await;
    assert!(refused.contains("2 replies"), "{refused}");
    assert!(invoke.calls().is_empty());
}

#[tokio::test]
async fn a_request_has_the_timeout_of_its_options_and_one_answer() {
    let invoke = broker();
    let component = messages(&invoke).await;
    assert_eq!(run(&component, "ask one").await, "inbox=topic for 250");
    assert_eq!(run(&component, "ask").await, "inbox=topic for 5000");
    assert_eq!(run(&component, "ask none").await, "");
    let functions: Vec<_> = invoke.calls().into_iter().map(|c| c.function).collect();
    assert_eq!(functions, ["request", "request", "publish"]);
}

#[tokio::test]
async fn the_parts_of_a_message_are_kept() {
    let component = messages(&broker()).await;
    let fields = run(&component, "fields").await;
    let expected = r#"two None Some("text/plain") Some([("b", "2")])"#;
    assert_eq!(fields, expected);
}

#[tokio::test]
async fn an_incoming_handler_is_served_as_the_handler_of_the_other_package() {
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
    assert_eq!(
        invoke.calls()[0].params,
        message("inbox.1", b"\x00\xff", None)
    );
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
