//! Requests as they were recorded get the recorded replies.

use std::collections::HashMap;

use futures::StreamExt;
use lattice_control::types::StartProviderCommand;
use lattice_control::{ClientError, GatherOptions};
use lattice_core::ConfigName;
use lattice_nats_box::NatsBox;
use serde_json::Value;

use crate::fake::FakeHost;
use crate::{HOST, client, host, nats_box, serve, soon};

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

/// Answers every request with the reply recorded for that step.
async fn play(nats: &NatsBox, steps: &'static [&'static str]) -> tokio::task::JoinHandle<()> {
    let connection = nats.client().await.unwrap();
    let mut requests = connection
        .subscribe("wasmbus.ctl.v1.default.>")
        .await
        .unwrap();
    connection.request("nobody", "".into()).await.unwrap_err();
    let replies: HashMap<String, String> = exchanges()
        .into_iter()
        .map(|exchange| (exchange.step, exchange.reply))
        .collect();
    tokio::spawn(async move {
        for step in steps {
            let request = requests.next().await.unwrap();
            let reply = replies[*step].clone();
            connection
                .publish(request.reply.unwrap(), reply.into())
                .await
                .unwrap();
        }
        connection.flush().await.unwrap();
    })
}

#[tokio::test]
async fn recorded_answers_are_understood_by_the_client() {
    let nats = nats_box().await;
    let player = play(
        &nats,
        &[
            "host.ping",
            "host.get running",
            "link.get",
            "claims.get",
            "config.get",
            "config.get missing",
            "provider.start http",
            "provider.start duplicate",
        ],
    )
    .await;
    let client = client(&nats).await;
    let hosts = client.ping(GatherOptions::first()).await.unwrap();
    assert_eq!(
        (hosts[0].id.as_str(), hosts[0].version.as_deref()),
        (HOST, Some("1.9.2"))
    );
    let inventory = client.inventory(&host()).await.unwrap();
    assert_eq!(
        (inventory.components.len(), inventory.providers.len()),
        (1, 2)
    );
    assert_eq!(client.links().await.unwrap().len(), 2);
    assert_eq!(client.claims().await.unwrap()[0]["rev"], "1");
    let name = ConfigName::new("http").unwrap();
    assert_eq!(
        client.config(&name).await.unwrap().unwrap()["address"],
        "127.0.0.1:8000"
    );
    assert_eq!(client.config(&name).await.unwrap(), None);
    let command = StartProviderCommand {
        provider_id: "kvredis".into(),
        provider_ref: "file:///providers/keyvalue-redis-provider.par".into(),
        ..Default::default()
    };
    let text = client
        .start_provider(&host(), command.clone())
        .await
        .unwrap();
    assert_eq!(text, "successfully started provider");
    let error = client.start_provider(&host(), command).await.unwrap_err();
    assert!(
        matches!(error, ClientError::Refused { code: None, .. }),
        "{error:?}"
    );
    soon("the player", player).await.unwrap();
}
