//! Feeds calls of components and the answers to them to what reads them on the way; and compiled code
//! as hosts share it.
#![no_main]

use bytes::{Bytes, BytesMut};
use futures::executor::block_on;
use futures::{StreamExt as _, stream};
use lattice_codec::Path;
use lattice_core::rules::Param;
use lattice_runtime::StreamingReply;
use lattice_runtime::fuzzing::{shared_code, signed_code, values};
use libfuzzer_sys::fuzz_target;

#[path = "../../host/src/trust/rules/answers.rs"]
mod answers;
#[path = "../../host/src/trust/rules/operands.rs"]
mod operands;

const PARAMS: [Param; 12] = [
    Param::Within,
    Param::Key,
    Param::Keys,
    Param::Entries,
    Param::Object,
    Param::Subject,
    Param::Message,
    Param::Job,
    Param::Statement,
    Param::Optional,
    Param::Batch,
    Param::Within,
];

fuzz_target!(|data: &[u8]| {
    let Some((count, rest)) = data.split_first() else {
        return;
    };
    // Signatures take time, of which the rest has more use.
    if *count >= 0xf0 {
        code(rest);
        return;
    }
    let (head, bytes) = rest.split_at(usize::from(count % 32).min(rest.len()));
    let bytes = Bytes::copy_from_slice(bytes);
    values(head, bytes.clone());
    operands_of(head, bytes.clone());
    narrowed(bytes);
});

/// Entries as strangers may write them, and as a trusted host may sign them: a length, then code.
fn code(data: &[u8]) {
    shared_code(data);
    if let Some((len, packed)) = data.split_first_chunk() {
        signed_code(u32::from_le_bytes(*len).into(), packed);
    }
}

fn operands_of(head: &[u8], bytes: Bytes) {
    let params = head
        .iter()
        .map(|kind| PARAMS[usize::from(*kind) % PARAMS.len()]);
    let params: Vec<_> = params.collect();
    if let Ok(operands) = operands::Operands::read(&params, bytes) {
        let _ = (
            operands.within,
            operands.keys,
            operands.subjects,
            operands.statement,
            operands.batch,
        );
    }
}

/// Answers without what a prefix hides; what is left is narrowed to itself.
fn narrowed(bytes: Bytes) {
    let prefixes = ["a".to_owned()];
    for narrow in [answers::keys, answers::jobs, answers::whole_names] {
        if let Ok(once) = narrow(&prefixes, bytes.clone()) {
            let twice = narrow(&prefixes, once.clone());
            assert_eq!(twice.ok(), Some(once));
        }
    }
    let path: Path = "0".parse().expect("a number is a path");
    let parts: Vec<_> = bytes.chunks(7).map(Bytes::copy_from_slice).collect();
    let reply = StreamingReply {
        results: Bytes::from_static(&[0, 0]),
        streams: vec![(path.clone(), Box::pin(stream::iter(parts).map(Ok)))],
    };
    let Ok(mut reply) = answers::names(&prefixes, Some(&path), reply) else {
        return;
    };
    let mut all = BytesMut::new();
    while let Some(Ok(part)) = block_on(reply.streams[0].1.next()) {
        all.extend_from_slice(&part);
    }
    assert!(all.len() <= 2 * bytes.len() + 8);
}
