//! `wash call` against a peer that serves functions, over a real NATS server.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use common::fake::FakeLattice;
use common::{Outcome, expect};
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody};
use lattice_codec::{Reader, write};
use lattice_core::subject::RpcPrefix;
use lattice_core::{ComponentId, LatticeName};
use lattice_rpc::http::{HANDLE, INCOMING_HANDLER, answer, take_request};
use lattice_rpc::{
    IncomingCall, Limiter, Peer, PeerConfig, RemoteError, ServeHandle, ServeOptions,
};

/// A component `demo` with an HTTP handler and functions of strings.
struct Demo {
    lattice: FakeLattice,
    _peer: Peer,
    _serving: Vec<ServeHandle>,
}

async fn handle_http(mut call: IncomingCall) {
    let request = take_request(&mut call.params).await.unwrap();
    let (parts, body) = request.into_parts();
    if parts.uri.path() == "/endless" {
        let begun = Full::new(Bytes::from_static(b"event")).frame().await;
        let body = StreamBody::new(stream::iter(begun).chain(stream::pending()));
        // Whoever has called goes away meanwhile.
        let _ = answer(call.responder, Ok(http::Response::new(body))).await;
        return;
    }
    let body = body.collect().await.unwrap().to_bytes();
    let text = format!(
        r#"{{"method":"{}","path":"{}","x":"{}","body":"{}"}}"#,
        parts.method,
        parts.uri.path_and_query().unwrap(),
        parts
            .headers
            .get("x-one")
            .map_or("", |value| value.to_str().unwrap()),
        String::from_utf8_lossy(&body),
    );
    let mut response = http::Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = http::StatusCode::CREATED;
    response
        .headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    answer(call.responder, Ok(response)).await.unwrap();
}

async fn handle_join(mut call: IncomingCall) {
    let source = call.context.source_id.clone().unwrap_or_default();
    let params = call.params.all(Duration::from_secs(1)).await.unwrap();
    let mut reader = Reader::new(params);
    let (one, two) = (reader.string().unwrap(), reader.string().unwrap());
    let mut result = BytesMut::new();
    write::string(&mut result, &format!("{source}: {one} {two}"));
    call.responder.reply(result.freeze()).await.unwrap();
}

async fn handle_fail(call: IncomingCall) {
    let error = RemoteError::new(RemoteError::FAILED, "the component trapped: unreachable")
        .with_hint("look at its log");
    call.responder.fail(error).await.unwrap();
}

impl Demo {
    async fn start() -> Self {
        let lattice = FakeLattice::start(1).await;
        let nats = lattice.nats.client().await.unwrap();
        let peer = Peer::new(nats, PeerConfig::default()).await.unwrap();
        let prefix = RpcPrefix::new(&LatticeName::default(), &ComponentId::new("demo").unwrap());
        let options = ServeOptions {
            limiter: Arc::new(Limiter::new(100, 100, Duration::from_secs(1))),
            default_deadline: Duration::from_secs(5),
            longest_deadline: Duration::from_secs(60),
            relief: lattice_rpc::Relief::default(),
            takes: None,
        };
        let subject = |instance: &str, function: &str| prefix.invocation(instance, function);
        let group = prefix.queue_group();
        let mut serving = Vec::new();
        let http = subject(INCOMING_HANDLER, HANDLE);
        serving.push(
            peer.serve(&http, group, options.clone(), handle_http)
                .await
                .unwrap(),
        );
        let join = subject("test:demo/text", "join");
        serving.push(
            peer.serve(&join, group, options.clone(), handle_join)
                .await
                .unwrap(),
        );
        let fail = subject("test:demo/text", "fail");
        serving.push(
            peer.serve(&fail, group, options, handle_fail)
                .await
                .unwrap(),
        );
        peer.confirm(Duration::from_secs(10)).await.unwrap();
        Self {
            lattice,
            _peer: peer,
            _serving: serving,
        }
    }

    async fn wash(&self, line: &str) -> Outcome {
        self.lattice.wash(line).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_request_has_method_path_headers_and_body() {
    let demo = Demo::start().await;
    expect(
        &demo
            .wash(
                "call demo wasi:http/incoming-handler.handle --http-method post \
                 --http-path /a?b=c -H x-one:1 --http-body hi",
            )
            .await,
        r#"
-- stdout
{
  "body": "{\"method\":\"POST\",\"path\":\"/a?b=c\",\"x\":\"1\",\"body\":\"hi\"}",
  "headers": {
    "content-type": "application/json"
  },
  "status": 201
}
-- exit 0"#,
    );
    let json = demo
        .wash("call demo wasi:http/incoming-handler@0.2.2.handle -o json")
        .await;
    let json = json.ok().json();
    assert_eq!(json["response"]["status"], 201);
    assert_eq!(json["command"], "call");
    let body = demo
        .wash("call demo wasi:http/incoming-handler.handle --http-response-extract-json -o json")
        .await;
    assert_eq!(body.ok().json()["response"]["method"], "GET");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_does_not_end_takes_no_longer_than_was_said() {
    let demo = Demo::start().await;
    let line = "call demo wasi:http/incoming-handler.handle --http-path /endless -t 5000";
    let outcome = demo.wash(line).await;
    assert_eq!(outcome.code, Some(5), "{outcome}");
    assert!(outcome.stderr.contains("5 bytes"), "{outcome}");
    // What came is of use all the same.
    assert!(outcome.stdout.contains(r#""body": "event""#), "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strings_are_arguments_and_results() {
    let demo = Demo::start().await;
    expect(
        &demo.wash("call demo test:demo/text.join one two").await,
        "-- stdout\nwash: one two\n-- exit 0",
    );
    let json = demo
        .wash("call demo test:demo/text.join one two -o json")
        .await
        .ok()
        .json();
    assert_eq!(json["result"], "wash: one two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_the_called_side_is_passed_on() {
    let demo = Demo::start().await;
    expect(
        &demo.wash("call demo test:demo/text.fail").await,
        "
-- stderr
error[WASH0042]: could not call `test:demo/text.fail` of `demo`
  caused by: the component trapped: unreachable
hint: look at its log
-- exit 4",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_and_handlers_do_not_mix() {
    let demo = Demo::start().await;
    let outcome = demo
        .wash("call demo wasi:http/incoming-handler.handle argument")
        .await;
    assert_eq!(outcome.code, Some(2), "{outcome}");
}
