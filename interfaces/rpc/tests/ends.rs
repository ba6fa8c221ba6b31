//! Hosts of 1.9 read a handle to the end of the results that it is in, and have to be told of that.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use lattice_rpc::wrpc::Server;
use support::{Pair, id, lattice, options};
use wrpc_transport::ServeExt as _;

const INSTANCE: &str = "test:pkg/iface@0.1.0";

/// What a caller is sent as the results of a call, until their end. It reads as a host of 1.9 does
/// where a handle is among them.
async fn read_to_their_end(pair: &Pair, function: &str, params: Bytes) -> Vec<u8> {
    let client = pair.nats.client().await.unwrap();
    let inbox = client.new_inbox();
    let mut accepts = client.subscribe(inbox.clone()).await.unwrap();
    let mut results = client.subscribe(format!("{inbox}.results")).await.unwrap();
    let sent = client.publish_with_reply(pair.subject(function), inbox, params);
    sent.await.unwrap();
    let patience = Duration::from_secs(5);
    let accept = tokio::time::timeout(patience, accepts.next()).await;
    let place = accept.expect("no accept").unwrap().reply.unwrap();
    let end_of_params = client.publish(format!("{place}.params"), Bytes::new());
    end_of_params.await.unwrap();
    let mut all = Vec::new();
    loop {
        let part = tokio::time::timeout(patience, results.next()).await;
        let part = part.expect("the caller waits for the end").unwrap();
        if part.payload.is_empty() {
            return all;
        }
        all.extend_from_slice(&part.payload);
    }
}

#[tokio::test]
async fn who_reads_handles_to_the_end_of_the_results_is_told_where_it_is() {
    let pair = Pair::start().await;
    // A function of no resource, a constructor, and a method.
    for function in ["open", "conn", "conn.begin"] {
        let server = Server::new(pair.callee.clone(), &lattice(), &id("target"), options());
        let none: Arc<[Box<[Option<usize>]>]> = Arc::from([]);
        let calls = server.serve_values::<(String,), (Bytes,)>(INSTANCE, function, none);
        let calls = calls.await.unwrap();
        pair.callee.confirm(Duration::from_secs(5)).await.unwrap();
        let serving = tokio::spawn(async move {
            let mut calls = Box::pin(calls);
            while let Some(call) = calls.next().await {
                let (_, (name,), _, answer) = call.unwrap();
                answer((Bytes::from(name),)).await.unwrap();
            }
        });
        let params = Bytes::from_static(&[2, b'h', b'i']);
        let results = read_to_their_end(&pair, function, params.clone()).await;
        assert_eq!(results, params, "{function}");
        serving.abort();
    }
    pair.settle().await;
}
