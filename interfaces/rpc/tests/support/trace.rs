//! The recording of a live 1.9.2 lattice, call by call.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use serde_json::Value;

const TRACE: &str = include_str!("../../../core/tests/golden/trace.jsonl");

/// One recorded message of a call.
#[derive(Debug)]
pub struct Frame {
    /// Where it belongs: `params`, `results.0.1` …, or nothing for the accept.
    pub part: String,
    pub payload: Bytes,
}

/// One recorded call, all its messages in their order.
#[derive(Debug)]
pub struct Call {
    pub step: String,
    /// Interface and function.
    pub function: String,
    pub headers: Vec<(String, String)>,
    pub frames: Vec<Frame>,
}

impl Call {
    /// The pieces of one part, the empty one that ends it last.
    pub fn pieces(&self, part: &str) -> Vec<Bytes> {
        let of_part = self.frames.iter().filter(|frame| frame.part == part);
        of_part.map(|frame| frame.payload.clone()).collect()
    }

    /// The whole of one part.
    pub fn whole(&self, part: &str) -> Bytes {
        let all: BytesMut = self.pieces(part).into_iter().flatten().collect();
        all.freeze()
    }
}

/// What the recording holds.
#[derive(Debug, Default)]
pub struct Trace {
    pub calls: Vec<Call>,
    /// Payloads with bytes, of any subject, that were recorded as bytes and not as text.
    pub binary: usize,
}

/// The payload of a message that was recorded as bytes; a recorded text is none of a call.
fn bytes_of(line: &Value) -> Option<Bytes> {
    assert!(line.get("length").is_none(), "a payload was cut: {line}");
    let hex = line.get("hex")?.as_str()?;
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    Some((0..hex.len()).step_by(2).map(byte).collect())
}

/// Reads the calls out of the recording.
pub fn read() -> Trace {
    let mut trace = Trace::default();
    // The private subjects of both sides, and which of them a part is told by.
    let mut owners: HashMap<String, usize> = HashMap::new();
    for line in TRACE.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| line.get(key).and_then(Value::as_str).map(str::to_owned);
        let Some(payload) = bytes_of(&line) else {
            continue;
        };
        trace.binary += usize::from(!payload.is_empty());
        let (subject, reply) = (text("subject").unwrap(), text("reply"));
        if let Some((_, function)) = subject.split_once(".wrpc.0.0.1.") {
            let headers: HashMap<String, String> =
                serde_json::from_value(line["headers"].clone()).unwrap();
            owners.insert(reply.unwrap(), trace.calls.len());
            trace.calls.push(Call {
                step: text("step").unwrap(),
                function: function.to_owned(),
                headers: headers.into_iter().collect(),
                frames: vec![Frame {
                    part: "params".to_owned(),
                    payload,
                }],
            });
            continue;
        }
        // An inbox, the token of the call, and for all but the accept the part.
        let tokens: Vec<&str> = subject.splitn(4, '.').collect();
        let root = tokens[..tokens.len().min(3)].join(".");
        let Some(&call) = owners.get(&root) else {
            continue;
        };
        if let Some(reply) = reply {
            owners.insert(reply, call);
        }
        let part = tokens.get(3).copied().unwrap_or_default().to_owned();
        trace.calls[call].frames.push(Frame { part, payload });
    }
    trace
}
