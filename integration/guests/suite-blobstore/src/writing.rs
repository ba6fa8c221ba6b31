//! Writing: values, their streams, and what becomes of those that are given up.

use crate::Case;
use crate::bindings::wasi::blobstore::types::OutgoingValue;
use crate::world::{
    Step, World, body, expect, expect_error, has_data, holds, pattern, put, read_all, same, write,
};

pub(crate) const CASES: &[Case] = &[
    (
        "a value that is written before it is stored is stored",
        before,
    ),
    (
        "a value that is written after it is stored is stored",
        after,
    ),
    (
        "a value that is written before and after is stored as a whole",
        around,
    ),
    ("a value gives its stream once", once),
    (
        "a value that is dropped without being finished leaves no object",
        dropped,
    ),
    (
        "a value that is given up keeps the object that is there",
        given_up,
    ),
    (
        "an object appears when its value is finished, not before",
        appears,
    ),
    (
        "a value for a container that is not there fails when it is finished",
        nowhere,
    ),
    ("two values that are written at once both arrive", at_once),
    (
        "values for the same object leave one of them whole",
        same_object,
    ),
];

fn before(world: &World) -> Step {
    let container = world.container("a")?;
    let value = OutgoingValue::new_outgoing_value();
    let stream = expect("write-body", body(&value))?;
    let data = pattern(100_000);
    expect("write", put(&stream, &data))?;
    drop(stream);
    expect("write-data", container.write_data("o", &value))?;
    expect("finish", OutgoingValue::finish(value))?;
    has_data(&container, "o", &data)
}

fn after(world: &World) -> Step {
    let container = world.container("a")?;
    let value = OutgoingValue::new_outgoing_value();
    expect("write-data", container.write_data("o", &value))?;
    let stream = expect("write-body", body(&value))?;
    let data = pattern(2_500_000);
    expect("write", put(&stream, &data))?;
    drop(stream);
    expect("finish", OutgoingValue::finish(value))?;
    has_data(&container, "o", &data)
}

fn around(world: &World) -> Step {
    let container = world.container("a")?;
    let value = OutgoingValue::new_outgoing_value();
    let stream = expect("write-body", body(&value))?;
    expect("write", put(&stream, b"first, "))?;
    expect("write-data", container.write_data("o", &value))?;
    expect("write", put(&stream, b"then "))?;
    expect("write", put(&stream, b"the rest"))?;
    drop(stream);
    expect("finish", OutgoingValue::finish(value))?;
    has_data(&container, "o", b"first, then the rest")
}

fn once(_world: &World) -> Step {
    let value = OutgoingValue::new_outgoing_value();
    let first = expect("write-body", body(&value))?;
    expect_error("write-body again", body(&value))?;
    drop(first);
    Ok(())
}

fn dropped(world: &World) -> Step {
    let container = world.container("a")?;
    for size in [0, 10, 400_000] {
        let value = OutgoingValue::new_outgoing_value();
        let stream = expect("write-body", body(&value))?;
        expect("write-data", container.write_data("o", &value))?;
        expect("write", put(&stream, &pattern(size)))?;
        drop(stream);
        drop(value);
    }
    // What comes after it shows that the backend has had the time.
    for number in 0..20 {
        expect(
            "write",
            write(&container, &format!("later{number}"), b"data"),
        )?;
    }
    same(
        "has-object",
        expect("has-object", container.has_object("o"))?,
        false,
    )
}

fn given_up(world: &World) -> Step {
    let container = world.container("a")?;
    expect("write", write(&container, "o", b"kept"))?;
    let value = OutgoingValue::new_outgoing_value();
    let stream = expect("write-body", body(&value))?;
    expect("write-data", container.write_data("o", &value))?;
    expect("write", put(&stream, &pattern(400_000)))?;
    drop(stream);
    drop(value);
    for number in 0..20 {
        expect(
            "write",
            write(&container, &format!("later{number}"), b"data"),
        )?;
    }
    has_data(&container, "o", b"kept")
}

fn appears(world: &World) -> Step {
    let container = world.container("a")?;
    let value = OutgoingValue::new_outgoing_value();
    let stream = expect("write-body", body(&value))?;
    expect("write-data", container.write_data("o", &value))?;
    expect("write", put(&stream, &pattern(400_000)))?;
    same(
        "while it is written",
        expect("has-object", container.has_object("o"))?,
        false,
    )?;
    drop(stream);
    same(
        "before it is finished",
        expect("has-object", container.has_object("o"))?,
        false,
    )?;
    expect("finish", OutgoingValue::finish(value))?;
    has_data(&container, "o", &pattern(400_000))
}

fn nowhere(world: &World) -> Step {
    use crate::bindings::wasi::blobstore::blobstore;
    let container = world.container("a")?;
    let name = expect("name", container.name())?;
    expect("delete-container", blobstore::delete_container(&name))?;
    let value = OutgoingValue::new_outgoing_value();
    let stream = expect("write-body", body(&value))?;
    // The error may come with any of the steps; the last is the latest.
    let stored = container.write_data("o", &value);
    let sent = put(&stream, &pattern(5_000_000));
    drop(stream);
    let finished = OutgoingValue::finish(value);
    let error = expect_error("a write to nowhere", stored.and(finished).and(sent))?;
    holds(
        &format!("the error should name the container: {error}"),
        error.contains(&name),
    )
}

fn at_once(world: &World) -> Step {
    let container = world.container("a")?;
    let (one, other) = (
        OutgoingValue::new_outgoing_value(),
        OutgoingValue::new_outgoing_value(),
    );
    expect("write-data", container.write_data("one", &one))?;
    expect("write-data", container.write_data("other", &other))?;
    let streams = (
        expect("write-body", body(&one))?,
        expect("write-body", body(&other))?,
    );
    let data = pattern(600_000);
    for piece in data.chunks(50_000) {
        expect("write", put(&streams.0, piece))?;
        expect("write", put(&streams.1, &piece[..25_000]))?;
    }
    drop(streams);
    expect("finish", OutgoingValue::finish(other))?;
    expect("finish", OutgoingValue::finish(one))?;
    has_data(&container, "one", &data)?;
    let halves: Vec<_> = data.chunks(50_000).map(|piece| &piece[..25_000]).collect();
    has_data(&container, "other", &halves.concat())
}

fn same_object(world: &World) -> Step {
    let container = world.container("a")?;
    let mut values = Vec::new();
    for byte in 1..=4_u8 {
        let value = OutgoingValue::new_outgoing_value();
        expect("write-data", container.write_data("o", &value))?;
        let stream = expect("write-body", body(&value))?;
        values.push((byte, value, stream));
    }
    for _ in 0..5 {
        for (byte, _, stream) in &values {
            expect("write", put(stream, &[*byte; 60_000]))?;
        }
    }
    for (_, value, stream) in values {
        drop(stream);
        expect("finish", OutgoingValue::finish(value))?;
    }
    let data = expect("read", read_all(&container, "o"))?;
    same("size", data.len(), 300_000)?;
    holds(
        "the object should be one of the values, not a mixture",
        data.iter().all(|byte| *byte == data[0]),
    )
}
