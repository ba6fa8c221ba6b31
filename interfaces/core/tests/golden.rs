//! Every payload of the recorded 1.9 lattice that has a type in this crate
//! decodes and encodes back to the same bytes.
//!
//! Requests of the control interface and auction acknowledgements have their
//! types in the control crate, which tests them from the same files. Bodies
//! that a raw client wrote with blanks (configs) are stored as received; for
//! them our encoding is compared with the text without those blanks.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of a test, where a panic is the failure"
)]

use std::collections::BTreeMap;

use lattice_core::event::CloudEvent;
use lattice_core::host::{Host, HostInventory};
use lattice_core::provider::{HealthCheckResponse, HostData, SHUTDOWN_REPLY, ShutdownRequest};
use lattice_core::record::{ComponentSpec, StoredClaims};
use lattice_core::subject::{self, ControlSubjects, RpcPrefix, TopicPrefix, rpc, store};
use lattice_core::{
    ComponentId, CtlResponse, LatticeName, Link, ResolvedLink, StringMap, config, reference,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const TRACE: &str = include_str!("golden/trace.jsonl");
const HOSTDATA: &str = include_str!("golden/hostdata.json");
const BUCKETS: &str = include_str!("golden/buckets.json");

/// One recorded message.
struct Message {
    step: String,
    subject: String,
    text: Option<String>,
    headers: BTreeMap<String, String>,
}

fn trace() -> Vec<Message> {
    let read = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| line.get(key).and_then(Value::as_str).map(str::to_owned);
        Message {
            step: text("step").unwrap(),
            subject: text("subject").unwrap(),
            text: text("text").filter(|text| !text.is_empty()),
            headers: serde_json::from_value(line["headers"].clone()).unwrap_or_default(),
        }
    };
    TRACE.lines().map(read).collect()
}

/// Decodes a text and expects the same text when it is encoded again.
#[track_caller]
fn same<T: DeserializeOwned + Serialize>(text: &str) -> T {
    let value: T =
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} while reading {text}"));
    assert_eq!(serde_json::to_string(&value).unwrap(), text);
    value
}

/// Removes the blanks between JSON tokens.
fn without_blanks(text: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    let keep = |c: &char| {
        let blank = !quoted && c.is_whitespace();
        if *c == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = quoted && *c == '\\' && !escaped;
        !blank
    };
    text.chars().filter(keep).collect()
}

fn check_config(text: &str) {
    let config = config::parse(text.as_bytes()).unwrap();
    assert_eq!(
        serde_json::to_string(&config).unwrap(),
        without_blanks(text)
    );
}

/// Checks a record of either bucket; says whether it was one.
fn check_record(kv_subject: &str, text: &str) -> bool {
    let lattice = LatticeName::default();
    let in_bucket = |bucket: String| {
        kv_subject
            .strip_prefix(&format!("$KV.{bucket}."))
            .map(str::to_owned)
    };
    if in_bucket(store::config_bucket(&lattice)).is_some() {
        check_config(text);
        return true;
    }
    let Some(key) = in_bucket(store::lattice_bucket(&lattice)) else {
        return false;
    };
    match store::parse_lattice_key(&key) {
        store::LatticeKey::Component(id) => {
            let spec: ComponentSpec = same(text);
            assert!(spec.links.iter().all(|link| link.source_id == id.as_str()));
            assert_eq!(store::component_key(&id), key);
        }
        store::LatticeKey::Claims(subject) => {
            let claims: StoredClaims = same(text);
            assert_eq!(claims.subject(), subject);
            assert_eq!(store::claims_key(&subject), key);
        }
        other => panic!("unexpected key {key}: {other:?}"),
    }
    true
}

/// Checks a control reply by the step it answers; says whether core has its type.
fn check_reply(step: &str, text: &str) -> bool {
    match step {
        "host.ping" => drop(same::<CtlResponse<Host>>(text)),
        "host.get empty" | "host.get running" => drop(same::<CtlResponse<HostInventory>>(text)),
        "link.get" => {
            let reply: CtlResponse<Vec<Link>> = same(text);
            assert!(
                reply
                    .response
                    .unwrap()
                    .iter()
                    .all(|link| link.check().is_ok())
            );
        }
        "claims.get" => drop(same::<CtlResponse<Vec<StringMap>>>(text)),
        "config.get" => drop(same::<CtlResponse<StringMap>>(text)),
        "component.auction" | "provider.auction" => return false,
        _ => drop(same::<CtlResponse<()>>(text)),
    }
    true
}

fn check_inbox(message: &Message, text: &str) -> &'static str {
    if let Some(kv_subject) = message.headers.get("Nats-Subject") {
        assert!(check_record(kv_subject, text), "{kv_subject}");
        return "record read";
    }
    if text == SHUTDOWN_REPLY {
        return "shutdown reply";
    }
    if text.starts_with(r#"{"stream":"#) {
        return "jetstream";
    }
    if text.starts_with(r#"{"healthy":"#) {
        same::<HealthCheckResponse>(text);
        return "health";
    }
    if text.starts_with(r#"{"success":"#) {
        return if check_reply(&message.step, text) {
            "reply"
        } else {
            "control crate"
        };
    }
    "other"
}

fn check_management(subject: &str, text: &str) -> &'static str {
    let token = subject.split('.').nth(3).unwrap();
    let subjects =
        subject::ProviderSubjects::new(&LatticeName::default(), &ComponentId::new(token).unwrap());
    if [subjects.link_put(), subjects.link_delete()]
        .iter()
        .any(|s| s == subject)
    {
        let link: ResolvedLink = same(text);
        assert!(link.key().is_ok());
        "link"
    } else if subject == subjects.config_update() {
        same::<StringMap>(text);
        "config update"
    } else if subject == subjects.shutdown() {
        same::<ShutdownRequest>(text);
        "shutdown"
    } else {
        panic!("unexpected subject {subject}")
    }
}

fn check(message: &Message, text: &str) -> &'static str {
    let subject = message.subject.as_str();
    if let Some((lattice, name)) = subject::event::parse(subject) {
        let event: CloudEvent = same(text);
        assert_eq!(subject::event::event(&lattice, event.event.name()), subject);
        assert!(event.event.kind().is_some(), "{name}");
        assert!(event.timestamp().is_some(), "{}", event.time);
        return "event";
    }
    if check_record(subject, text) {
        return "record";
    }
    if subject.starts_with("wasmbus.rpc.") {
        return check_management(subject, text);
    }
    if subject.starts_with("wasmbus.ctl.") {
        if subject.contains(".config.put.") {
            check_config(text);
            return "config put";
        }
        if subject.ends_with(".link.put") {
            let link: Link = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&link).unwrap(), without_blanks(text));
            return "link put";
        }
        return "control crate";
    }
    if subject.starts_with("_INBOX.") {
        return check_inbox(message, text);
    }
    "other"
}

#[test]
fn every_recorded_payload_of_a_core_type_keeps_its_bytes() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for message in trace() {
        if let Some(text) = &message.text {
            let kind = check(&message, text);
            assert!(
                kind != "other" || is_foreign(&message, text),
                "{}: {text}",
                message.subject
            );
            *seen.entry(kind).or_default() += 1;
        }
    }
    for kind in [
        "event",
        "record",
        "record read",
        "reply",
        "link",
        "link put",
        "config put",
        "config update",
        "health",
        "shutdown",
        "shutdown reply",
        "control crate",
    ] {
        assert!(
            seen.contains_key(kind),
            "nothing of kind {kind} in {seen:?}"
        );
    }
    assert!(seen["event"] >= 40 && seen["reply"] >= 25, "{seen:?}");
}

/// Payloads of applications and calls: the messaging step and stream data.
fn is_foreign(message: &Message, text: &str) -> bool {
    let call_step = message.step.starts_with("http ") || message.step.starts_with("message ");
    call_step || text == "hello lattice" || rpc::parse_invocation(&message.subject).is_some()
}

#[test]
fn every_recorded_subject_is_one_of_ours() {
    let lattice = LatticeName::default();
    let control = ControlSubjects::new(&TopicPrefix::default(), &lattice);
    let mut operations = 0;
    for message in trace() {
        let subject = message.subject.as_str();
        if subject.starts_with("wasmbus.ctl.") {
            match control.parse(subject) {
                Ok(op) => {
                    operations += 1;
                    assert_eq!(control.subject(&op), subject);
                }
                Err(_) => assert!(
                    message.step == "unknown operation" || message.step == "config.get dotted name",
                    "{subject}"
                ),
            }
        } else if let Some((lattice, target, operation)) = rpc::parse_invocation(subject) {
            let (instance, function) = operation.rsplit_once('.').unwrap();
            assert_eq!(
                RpcPrefix::new(&lattice, &target).invocation(instance, function),
                subject
            );
        }
    }
    assert!(operations > 30);
}

#[test]
fn recorded_host_data_keeps_its_bytes_and_framing() {
    // The file is indented, so the reference is the same JSON without blanks;
    // one provider at a time because the outer object is not part of the wire.
    let compact = without_blanks(HOSTDATA);
    let all: BTreeMap<String, Value> = serde_json::from_str(HOSTDATA).unwrap();
    for (name, recorded) in all {
        assert_eq!(recorded["raw_lines"], 1);
        assert_eq!(recorded["ends_with"], "b'\\r\\n'");
        let data: HostData = serde_json::from_value(recorded["json"].clone()).unwrap();
        let text = serde_json::to_string(&data).unwrap();
        // Blanks inside strings stay, so the recorded text is found as it is.
        assert!(compact.contains(&text), "{name}: {text}");
        let line = data.to_line().unwrap();
        assert!(line.ends_with("\r\n") && line.lines().count() == 1);
        assert_eq!(HostData::from_line(line.as_bytes()).unwrap(), data);
    }
}

#[test]
fn recorded_buckets_keep_their_bytes() {
    let buckets: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_str(BUCKETS).unwrap();
    let mut records = 0;
    for (bucket, entries) in buckets {
        for (key, text) in entries {
            assert!(
                check_record(&format!("$KV.{bucket}.{key}"), &text),
                "{bucket} {key}"
            );
            records += 1;
        }
    }
    assert_eq!(records, 15);
}

#[test]
fn recorded_provider_references_are_those_of_the_commands_without_scheme() {
    let started = trace()
        .into_iter()
        .filter(|m| m.subject.ends_with(".provider_started"));
    let mut checked = 0;
    for message in started {
        let event: CloudEvent = serde_json::from_str(message.text.as_deref().unwrap()).unwrap();
        let lattice_core::event::Event::ProviderStarted(data) = event.event else {
            panic!()
        };
        let command = format!("file://{}", data.image_ref);
        assert_eq!(reference::without_scheme(&command), data.image_ref);
        checked += 1;
    }
    assert_eq!(checked, 4);
}
