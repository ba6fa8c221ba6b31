//! Data that are too many to be kept.

use crate::Case;
use crate::bindings::wasi::blobstore::types::{IncomingValue, OutgoingValue};
use crate::world::{
    Step, World, body, drain, expect, failed, has_data, pattern, pattern_at, put, same, write,
};

pub(crate) const CASES: &[Case] = &[
    ("a large object passes both ways piece by piece", large),
    ("a range of a large object is read from its middle", middle),
    ("a reader that stops early does no harm", stopped),
    (
        "two readers of one object do not disturb each other",
        two_readers,
    ),
    (
        "who reads an object that is replaced gets one of the two",
        replaced,
    ),
];

/// How large the large object is; the driver may say otherwise.
const LARGE: usize = 32 << 20;

/// Writes a large object without keeping it.
fn write_large(
    world: &World,
) -> Step<(
    crate::bindings::wasi::blobstore::container::Container,
    usize,
)> {
    let size = world.number("large-bytes", LARGE);
    let container = world.container("a")?;
    let value = OutgoingValue::new_outgoing_value();
    expect("write-data", container.write_data("large", &value))?;
    let stream = expect("write-body", body(&value))?;
    let mut at = 0;
    while at < size {
        let end = (at + 60_000).min(size);
        let piece: Vec<u8> = (at..end).map(pattern_at).collect();
        expect("write", put(&stream, &piece))?;
        at = end;
    }
    drop(stream);
    expect("finish", OutgoingValue::finish(value))?;
    Ok((container, size))
}

fn large(world: &World) -> Step {
    let (container, size) = write_large(world)?;
    let info = expect("object-info", container.object_info("large"))?;
    same("size", info.size, size as u64)?;
    let value = expect("get-data", container.get_data("large", 0, u64::MAX))?;
    let stream = expect(
        "consume",
        IncomingValue::incoming_value_consume_async(value),
    )?;
    let (mut at, mut wrong) = (0, None);
    let read = drain(&stream, |piece| {
        for byte in piece {
            if *byte != pattern_at(at) {
                wrong.get_or_insert(at);
            }
            at += 1;
        }
    });
    expect("read", read)?;
    same("bytes read", at, size)?;
    match wrong {
        None => Ok(()),
        Some(at) => failed(format!("the byte at {at} is another")),
    }
}

fn middle(world: &World) -> Step {
    let (container, size) = write_large(world)?;
    let start = size / 2 + 17;
    let end = start + 700_000;
    let got = crate::world::read(&container, "large", start as u64, end as u64);
    let wanted: Vec<u8> = (start..=end.min(size - 1)).map(pattern_at).collect();
    same("the range", expect("read", got)? == wanted, true)
}

fn stopped(world: &World) -> Step {
    let container = world.container("a")?;
    let data = pattern(4_000_000);
    expect("write", write(&container, "o", &data))?;
    for _ in 0..10 {
        let value = expect("get-data", container.get_data("o", 0, u64::MAX))?;
        let stream = expect(
            "consume",
            IncomingValue::incoming_value_consume_async(value),
        )?;
        let piece = stream.blocking_read(1000).map_err(crate::world::told);
        expect("read", piece)?;
    }
    for _ in 0..10 {
        // Not even looked at.
        drop(expect("get-data", container.get_data("o", 0, u64::MAX))?);
    }
    has_data(&container, "o", &data)
}

fn two_readers(world: &World) -> Step {
    let container = world.container("a")?;
    let data = pattern(2_000_000);
    expect("write", write(&container, "o", &data))?;
    let open = || {
        let value = expect("get-data", container.get_data("o", 0, u64::MAX))?;
        expect(
            "consume",
            IncomingValue::incoming_value_consume_async(value),
        )
    };
    let (one, other) = (open()?, open()?);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let begun = one.blocking_read(10_000).map_err(crate::world::told);
    first.extend(expect("read", begun)?);
    expect(
        "read",
        drain(&other, |piece| second.extend_from_slice(piece)),
    )?;
    expect("read", drain(&one, |piece| first.extend_from_slice(piece)))?;
    same("the first", first == data, true)?;
    same("the second", second == data, true)
}

fn replaced(world: &World) -> Step {
    let container = world.container("a")?;
    let before = vec![1; 3_000_000];
    expect("write", write(&container, "o", &before))?;
    let value = expect("get-data", container.get_data("o", 0, u64::MAX))?;
    let stream = expect(
        "consume",
        IncomingValue::incoming_value_consume_async(value),
    )?;
    let mut got = Vec::new();
    let begun = stream.blocking_read(10_000).map_err(crate::world::told);
    got.extend(expect("read", begun)?);
    expect("write", write(&container, "o", &vec![2; 3_000_000]))?;
    match drain(&stream, |piece| got.extend_from_slice(piece)) {
        // A backend that has only one version of an object says that it is another now.
        Err(_) => {}
        Ok(()) => {
            same("size", got.len(), before.len())?;
            same("one version", got.iter().all(|byte| *byte == got[0]), true)?;
        }
    }
    has_data(&container, "o", &vec![2; 3_000_000])
}
