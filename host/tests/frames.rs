//! Frames of a 1.9 caller against our host, byte for byte (section 13.3 of the protocol page).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

mod common;

use std::time::Duration;

use async_nats::{HeaderMap, Message, Subscriber};
use common::{Lattice, wat};
use futures::StreamExt as _;
use lattice_host::{Host, StopReason, StopRequest};
use serde_json::json;
use tokio::time::timeout;

const FUNCTION: &str = "default.addc.wrpc.0.0.1.";

async fn start(lattice: &Lattice, text: &str) -> Host {
    let host = lattice.host().await;
    let mut events = lattice.events().await;
    let image = lattice.component("addc.wasm", text);
    let command = json!({"component_ref": image, "component_id": "addc", "count": 2});
    lattice.scale(&host, &command).await;
    events.data("component_scaled").await;
    host
}

async fn next(messages: &mut Subscriber) -> Message {
    timeout(Duration::from_secs(5), messages.next())
        .await
        .expect("a frame")
        .unwrap()
}

/// What the host sends to a caller up to the end of the results, after the accept.
async fn results(lattice: &Lattice, function: &str, params: &'static [u8]) -> Vec<Vec<u8>> {
    let inbox = lattice.client.new_inbox();
    let mut frames = lattice
        .client
        .subscribe(format!("{inbox}.>"))
        .await
        .unwrap();
    let mut accepts = lattice.client.subscribe(inbox.clone()).await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("source-id", "test");
    let subject = format!("{FUNCTION}{function}");
    let sent = lattice.client.publish_with_reply_and_headers(
        subject,
        inbox.clone(),
        headers,
        params.into(),
    );
    sent.await.unwrap();
    let accept = next(&mut accepts).await;
    assert!(accept.payload.is_empty());
    let callee = accept.reply.expect("a subject for parameters");
    let end = format!("{callee}.params");
    lattice.client.publish(end, "".into()).await.unwrap();
    let mut results = Vec::new();
    loop {
        let frame = next(&mut frames).await;
        assert_eq!(frame.subject.as_str(), format!("{inbox}.results"));
        // A 1.9 caller reads until it has all results; the end may follow or not.
        if frame.payload.is_empty() {
            return results;
        }
        results.push(frame.payload.to_vec());
        if results.concat().len() >= 2 {
            return results;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_caller_is_answered_with_the_recorded_frames() {
    let lattice = Lattice::start().await;
    let _host = start(&lattice, &wat::adder(0)).await;
    assert_eq!(
        results(&lattice, "add", &[0x05, 0x90, 0x4e]).await,
        [[0x95, 0x4e]]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_of_an_old_caller_may_come_in_pieces() {
    let lattice = Lattice::start().await;
    let _host = start(&lattice, &wat::adder(0)).await;
    let inbox = lattice.client.new_inbox();
    let mut frames = lattice
        .client
        .subscribe(format!("{inbox}.>"))
        .await
        .unwrap();
    let mut accepts = lattice.client.subscribe(inbox.clone()).await.unwrap();
    let subject = format!("{FUNCTION}add");
    lattice
        .client
        .publish_with_reply(subject, inbox, vec![0x05, 0x90].into())
        .await
        .unwrap();
    let callee = next(&mut accepts).await.reply.unwrap();
    lattice
        .client
        .publish(format!("{callee}.params"), vec![0x4e].into())
        .await
        .unwrap();
    assert_eq!(next(&mut frames).await.payload[..], [0x95, 0x4e]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_is_an_empty_result_for_an_old_caller() {
    let lattice = Lattice::start().await;
    let _host = start(&lattice, wat::TROUBLE).await;
    assert!(results(&lattice, "trap", &[]).await.is_empty());
}

/// An empty message is a command there, and the accept of a call is one.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_goes_to_a_subject_that_the_lattice_goes_by() {
    let lattice = Lattice::start().await;
    let host = start(&lattice, &wat::adder(0)).await;
    let stop = format!("wasmbus.ctl.v1.default.host.stop.{}", host.id());
    let mut stopped = lattice.client.subscribe(stop.clone()).await.unwrap();
    for subject in [
        format!("{FUNCTION}add"),
        "wasmbus.ctl.v1.default.host.ping".to_owned(),
        "wasmbus.ctl.v1.default.link.get".to_owned(),
    ] {
        let params = vec![0x05, 0x90, 0x4e].into();
        let sent = lattice
            .client
            .publish_with_reply(subject, stop.clone(), params);
        sent.await.unwrap();
    }
    // Whoever asks to be answered in an inbox is, after them.
    let frames = results(&lattice, "add", &[0x05, 0x90, 0x4e]).await;
    assert_eq!(frames, [[0x95, 0x4e]]);
    lattice.done("link.get", &serde_json::Value::Null).await;
    // So would anything sent to the host before: this comes to the same subscription.
    lattice.client.publish(stop, "mark".into()).await.unwrap();
    assert_eq!(next(&mut stopped).await.payload, "mark");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_call_harms_nobody_else() {
    let lattice = Lattice::start().await;
    let _host = start(&lattice, &wat::adder(0)).await;
    // One permit is taken by a caller that never sends the rest of its parameters.
    let inbox = lattice.client.new_inbox();
    let mut accepts = lattice.client.subscribe(inbox.clone()).await.unwrap();
    let subject = format!("{FUNCTION}add");
    lattice
        .client
        .publish_with_reply(subject, inbox, vec![0x85].into())
        .await
        .unwrap();
    next(&mut accepts).await;
    for _ in 0..20 {
        assert_eq!(
            results(&lattice, "add", &[0x05, 0x90, 0x4e]).await,
            [[0x95, 0x4e]]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_answers_after_the_end_of_the_host() {
    let lattice = Lattice::start().await;
    let host = start(&lattice, &wat::adder(0)).await;
    host.drain(StopRequest::now(StopReason::Program)).await;
    let error = lattice
        .client
        .request(format!("{FUNCTION}add"), vec![1, 2].into())
        .await;
    assert!(error.unwrap_err().to_string().contains("no responders"));
}
