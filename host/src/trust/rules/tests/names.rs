//! Listed names, in the answer and in the streams that follow it.

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::*;

fn reply(results: Bytes, parts: Vec<Bytes>) -> StreamingReply {
    let parts = stream::iter(parts.into_iter().map(Ok::<_, InvokeError>));
    StreamingReply {
        results,
        streams: vec![(Path::new([0, 0]), parts.boxed())],
    }
}

async fn rest(reply: StreamingReply) -> Result<Vec<String>, InvokeError> {
    let (_, names) = reply.streams.into_iter().next().unwrap();
    let bytes: Vec<Bytes> = names.try_collect().await?;
    let mut reader = Reader::new(bytes.concat().into());
    let mut found = Vec::new();
    while reader.remaining() > 0 {
        for _ in 0..reader.u32().unwrap() {
            found.push(reader.string().unwrap());
        }
    }
    Ok(found)
}

#[tokio::test]
async fn streamed_names_are_those_with_the_prefix() {
    let gate = gate("wasi:blobstore/container", json!({"prefix": ["a/"]}));
    let paths = [Path::new([0, 0]), Path::new([0, 1])];
    let narrow = |reply| gate.narrow_streams(BLOBS, "list-container-objects", &paths, reply);
    let inline = joined(&[
        Bytes::from_static(&[0]),
        list(&["b/1", "b/2"]),
        Bytes::from_static(&[0]),
    ]);
    // Nothing is left of what was there, and nothing is waited for in its place.
    let none = narrow(reply(inline, vec![list(&["a/late"])])).unwrap();
    assert_eq!(none.results, Bytes::from_static(&[0, 0, 0]));
    assert!(rest(none).await.unwrap().is_empty());
    let pending = Bytes::from_static(&[0, 0, 0]);
    let whole = joined(&[
        list(&["a/1", "b/1"]),
        list(&["b/2"]),
        list(&["a/2"]),
        list(&[]),
    ]);
    for cut in 0..whole.len() {
        let parts = vec![whole.slice(..cut), whole.slice(cut..)];
        let narrowed = narrow(reply(pending.clone(), parts)).unwrap();
        assert_eq!(rest(narrowed).await.unwrap(), ["a/1", "a/2"], "{cut}");
    }
    let cut_off = narrow(reply(pending.clone(), vec![whole.slice(..7)])).unwrap();
    assert!(rest(cut_off).await.is_err());
    let failed = Bytes::from_static(&[1, 2, b'n', b'o']);
    assert_eq!(
        narrow(reply(failed.clone(), vec![])).unwrap().results,
        failed
    );
}

#[test]
fn names_that_all_stand_in_the_answer_are_those_with_the_prefix() {
    let gate = gate("wasi:blobstore/container", json!({"prefix": ["a/"]}));
    let narrow = |answer: &Bytes| gate.narrow(BLOBS, "list-container-objects", answer.clone());
    let answer = |names: &[&str]| {
        let ok = Bytes::from_static(&[0]);
        joined(&[ok.clone(), list(names), ok])
    };
    let narrowed = narrow(&answer(&["a/1", "secret", "a/2"])).unwrap();
    assert_eq!(narrowed, answer(&["a/1", "a/2"]));
    let failed = Bytes::from_static(&[1, 2, b'n', b'o']);
    assert_eq!(narrow(&failed).unwrap(), failed);
    assert!(narrow(&answer(&["a/1"]).slice(..3)).is_err());
}

#[test]
fn no_rule_is_about_the_form_of_calls_where_the_host_asks_for_it() {
    let rules = json!({"allow": ["publish"], "subject": ["orders.*"], "rate": "1/h"});
    let gate = gate("wasmcloud:messaging/consumer", rules);
    let own = "lattice:messaging/producer@0.1.0";
    for _ in 0..3 {
        assert!(gate.check_form(own, "offered").is_ok());
    }
    // A guest that asks is held to the rules like everybody.
    let asking = refusing(&gate, own, "offered", &Bytes::new());
    assert_eq!(asking.as_deref(), Some("allow"));
    let slow = super::gate("wasmcloud:messaging/consumer", json!({"rate": "1/h"}));
    assert_eq!(refusing(&slow, own, "offered", &Bytes::new()), None);
    let more = slow.check(own, "offered", &Bytes::new());
    assert!(matches!(more, Err(InvokeError::Limited { .. })), "{more:?}");
    let request = texts(&["orders.1"]);
    assert_eq!(
        refusing(&gate, MESSAGES, "request", &request).as_deref(),
        Some("allow")
    );
}
