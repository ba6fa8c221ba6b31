//! Requests as they were recorded get the recorded replies.

use std::collections::HashMap;

use serde_json::Value;

use crate::fake::FakeHost;
use crate::{HOST, host, nats_box, serve};

const TRACE: &str = include_str!("../../../interfaces/core/tests/golden/trace.jsonl");
const PREFIX: &str = "wasmbus.ctl.";

/// Steps whose replies depend on the state of the recorded host.
const STATEFUL: [&str; 6] = [
    "host.ping",
    "host.get empty",
    "host.get running",
    "link.get",
    "claims.get",
    "component.auction",
];

struct Exchange {
    step: String,
    subject: String,
    request: Vec<u8>,
    reply: String,
}

fn exchanges() -> Vec<Exchange> {
    let lines: Vec<Value> = TRACE
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let replies: HashMap<String, String> = lines
        .iter()
        .map(|line| (text(line, "subject"), text(line, "text")))
        .collect();
    let requests = lines
        .iter()
        .filter(|line| text(line, "subject").starts_with(PREFIX));
    requests
        .map(|line| Exchange {
            step: text(line, "step"),
            subject: text(line, "subject"),
            request: match line["text"].as_str() {
                Some(text) => text.as_bytes().to_vec(),
                None => unhex(line["hex"].as_str().unwrap()),
            },
            reply: replies[&text(line, "reply")].clone(),
        })
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[tokio::test]
async fn recorded_requests_get_the_recorded_replies() {
    let nats = nats_box().await;
    let api = FakeHost::new(HOST);
    let _server = serve(&nats, host(), &api).await;
    let client = nats.client().await.unwrap();
    let exchanges = exchanges();
    assert!(
        exchanges.len() > 40,
        "the recording has {} requests",
        exchanges.len()
    );
    for Exchange {
        step,
        subject,
        request,
        reply,
    } in exchanges
    {
        let answer = client.request(subject, request.into()).await.unwrap();
        let answer = str::from_utf8(&answer.payload).unwrap();
        let recorded: Value = serde_json::from_str(&reply).unwrap();
        if recorded["success"] == Value::Bool(false) {
            // Ours adds a code, a cause and a hint, which old clients ignore.
            let answer: Value = serde_json::from_str(answer).unwrap();
            assert_eq!(answer["message"], recorded["message"], "{step}");
            assert_eq!(answer["success"], Value::Bool(false), "{step}");
            assert!(answer["code"].is_string(), "{step}: {answer}");
        } else if !STATEFUL.contains(&step.as_str()) {
            assert_eq!(answer, reply, "{step}");
        } else {
            assert!(
                answer.starts_with(r#"{"success":true,"message":"","response":"#),
                "{step}"
            );
        }
    }
}
