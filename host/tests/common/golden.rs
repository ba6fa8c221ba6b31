//! Comparison with the recording of a 1.9 lattice.

use std::path::Path;

use serde_json::Value;

/// The payloads on a subject during a step of the recording, as JSON.
pub(crate) fn recorded(step: &str, on: impl Fn(&str) -> bool) -> Vec<Value> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../interfaces/core/tests/golden/trace.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter(|line| line["step"] == step && on(line["subject"].as_str().unwrap()))
        .filter_map(|line| serde_json::from_str(line["text"].as_str()?).ok())
        .collect()
}

/// The reply of a step.
pub(crate) fn reply(step: &str) -> Value {
    let replies = recorded(step, |subject| subject.starts_with("_INBOX"));
    let mut replies = replies
        .into_iter()
        .filter(|reply| reply.get("success").is_some());
    replies
        .next()
        .unwrap_or_else(|| panic!("no reply is recorded for `{step}`"))
}

/// The data of the first event of a step.
pub(crate) fn event(step: &str, name: &str) -> Value {
    let subject = format!("wasmbus.evt.default.{name}");
    let events = recorded(step, |found| found == subject);
    events
        .first()
        .unwrap_or_else(|| panic!("no {name} is recorded for `{step}`"))["data"]
        .clone()
}

/// What a provider read from its standard input.
pub(crate) fn host_data(provider: &str) -> Value {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../interfaces/core/tests/golden/hostdata.json");
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    all[provider]["json"].clone()
}

/// Checks that two values have the same fields with values of the same types. Maps whose keys are
/// data, such as labels, are compared by the type of their values.
pub(crate) fn same_shape(ours: &Value, theirs: &Value) {
    compare("", ours, theirs);
}

const DATA_KEYS: [&str; 4] = ["labels", "annotations", "constraints", "config"];

fn compare(path: &str, ours: &Value, theirs: &Value) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let name = path.rsplit('.').next().unwrap();
            if DATA_KEYS.contains(&name) {
                assert!(ours.values().all(Value::is_string), "{path}: {ours:?}");
                return;
            }
            let mut own: Vec<_> = ours.keys().collect();
            let mut other: Vec<_> = theirs.keys().collect();
            own.sort();
            other.sort();
            assert_eq!(own, other, "fields of `{path}`");
            for (key, value) in ours {
                compare(&format!("{path}.{key}"), value, &theirs[key]);
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            if let (Some(own), Some(other)) = (ours.first(), theirs.first()) {
                compare(&format!("{path}[0]"), own, other);
            }
        }
        _ => assert_eq!(
            std::mem::discriminant(ours),
            std::mem::discriminant(theirs),
            "type of `{path}`: {ours} and {theirs}"
        ),
    }
}
