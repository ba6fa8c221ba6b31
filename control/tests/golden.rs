//! Every recorded request of the control interface and every auction reply decodes into its type
//! and encodes back to the same JSON.
//!
//! The recording's driver wrote JSON with blanks and left out fields that have defaults. So texts
//! are compared without blanks, and fields we write in addition must hold their defaults.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lattice_control::types::{
    ComponentAuctionAck, ComponentAuctionRequest, DeleteLinkRequest, HostLabel,
    HostLabelIdentifier, ProviderAuctionAck, ProviderAuctionRequest, ScaleComponentCommand,
    StartProviderCommand, StopHostCommand, StopProviderCommand, UpdateComponentCommand,
};
use lattice_core::{CtlResponse, Link, StringMap};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const TRACE: &str = include_str!("../../interfaces/core/tests/golden/trace.jsonl");

/// Subject tail, payload and reply subject of every recorded request that has a JSON body.
fn requests() -> Vec<(String, String, String)> {
    let lines = TRACE
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter_map(|line| {
            let tail = line["subject"]
                .as_str()?
                .strip_prefix("wasmbus.ctl.v1.default.")?;
            let reply = line["reply"].as_str().unwrap_or_default();
            Some((
                tail.to_owned(),
                line["text"].as_str()?.to_owned(),
                reply.to_owned(),
            ))
        })
        .collect()
}

fn reply_text(inbox: &str) -> String {
    let lines = TRACE
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut replies = lines.filter(|line| line["subject"] == *inbox);
    replies.next().unwrap()["text"].as_str().unwrap().to_owned()
}

#[track_caller]
fn same<T: DeserializeOwned + Serialize>(text: &str) {
    let value: T = serde_json::from_str(text).unwrap();
    let ours = serde_json::to_value(&value).unwrap();
    let recorded: Value = serde_json::from_str(text).unwrap();
    let (ours, recorded) = (ours.as_object().unwrap(), recorded.as_object().unwrap());
    for (key, value) in recorded {
        assert_eq!(ours.get(key), Some(value), "{key} of {text}");
    }
    let defaults = [json!(""), json!([]), json!(0), json!(false)];
    for (key, value) in ours {
        assert!(
            recorded.contains_key(key) || defaults.contains(value),
            "{key} is {value}"
        );
    }
}

#[test]
fn recorded_requests_decode_and_encode_back() {
    let mut seen = 0;
    for (tail, text, _) in requests() {
        let operation = tail.split('.').take(2).collect::<Vec<_>>().join(".");
        match operation.as_str() {
            "component.scale" if text.starts_with('{') => same::<ScaleComponentCommand>(&text),
            "component.update" => same::<UpdateComponentCommand>(&text),
            "component.auction" => same::<ComponentAuctionRequest>(&text),
            "provider.auction" => same::<ProviderAuctionRequest>(&text),
            "provider.start" => same::<StartProviderCommand>(&text),
            "provider.stop" => same::<StopProviderCommand>(&text),
            "host.stop" => same::<StopHostCommand>(&text),
            "label.put" => same::<HostLabel>(&text),
            "label.del" => same::<HostLabelIdentifier>(&text),
            "link.put" => same::<Link>(&text),
            "link.del" => same::<DeleteLinkRequest>(&text),
            "config.put" => same::<StringMap>(&text),
            _ => panic!("no type for {tail}"),
        }
        seen += 1;
    }
    assert!(seen >= 32, "only {seen} requests");
}

#[test]
fn recorded_bids_encode_back_to_the_same_bytes() {
    fn exact<T: DeserializeOwned + Serialize>(text: &str) {
        let value: CtlResponse<T> = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&value).unwrap(), text);
    }
    for (tail, _, inbox) in requests() {
        match tail.as_str() {
            "component.auction" => exact::<ComponentAuctionAck>(&reply_text(&inbox)),
            "provider.auction" => exact::<ProviderAuctionAck>(&reply_text(&inbox)),
            _ => {}
        }
    }
}

#[test]
fn commands_have_the_field_order_of_the_recording() {
    for (tail, text, _) in requests()
        .iter()
        .filter(|(_, text, _)| text.starts_with('{'))
    {
        let ours = match tail.split('.').take(2).collect::<Vec<_>>()[..] {
            ["component", "scale"] => keys::<ScaleComponentCommand>(text),
            ["component", "update"] => keys::<UpdateComponentCommand>(text),
            ["link", "put"] => keys::<Link>(text),
            ["link", "del"] => keys::<DeleteLinkRequest>(text),
            _ => continue,
        };
        let recorded: indexmap::IndexMap<String, Value> = serde_json::from_str(text).unwrap();
        let shared: Vec<_> = ours
            .iter()
            .filter(|key| recorded.contains_key(*key))
            .collect();
        assert_eq!(shared, recorded.keys().collect::<Vec<_>>(), "{tail}");
    }
}

fn keys<T: DeserializeOwned + Serialize>(text: &str) -> Vec<String> {
    let value: T = serde_json::from_str(text).unwrap();
    let text = serde_json::to_string(&value).unwrap();
    let map: indexmap::IndexMap<String, Value> = serde_json::from_str(&text).unwrap();
    map.into_keys().collect()
}
