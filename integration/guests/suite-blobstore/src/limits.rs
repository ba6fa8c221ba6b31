//! Objects of the largest size that is told, and larger ones.

use crate::Case;
use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::wasi::blobstore::container::Container;
use crate::bindings::wasi::blobstore::types::OutgoingValue;
use crate::world::{
    Step, World, body, expect, expect_error, has_data, holds, pattern, put, same, write,
};

pub(crate) const CASES: &[Case] = &[
    ("an object at the limit is stored whole", at_limit),
    (
        "an object over the limit is refused and leaves nothing",
        over_limit,
    ),
    ("an object over the limit keeps the one that is there", kept),
];

/// Objects larger than this are not tried.
const LARGEST_TRIED: u64 = 40 << 20;
/// How much is written at once.
const PIECE: usize = 1 << 20;

fn limit(world: &World) -> Step<u64> {
    let told = world.feature("max-object-bytes");
    let limit = told.and_then(|limit| limit.parse().ok());
    match limit.filter(|limit| *limit <= LARGEST_TRIED) {
        Some(limit) => Ok(limit),
        None => Err(Failure::Refused(format!(
            "the backend tells `max-object-bytes` as {}",
            told.unwrap_or("nothing")
        ))),
    }
}

/// Writes an object of a size.
fn write_size(container: &Container, name: &str, size: u64) -> Result<(), String> {
    let value = OutgoingValue::new_outgoing_value();
    let stream = body(&value)?;
    container.write_data(name, &value)?;
    let piece = pattern(PIECE);
    let mut left = size;
    while left > 0 {
        let next = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        // How the value ends says more than that its stream was closed.
        if put(&stream, &piece[..next]).is_err() {
            break;
        }
        left -= next as u64;
    }
    drop(stream);
    OutgoingValue::finish(value)
}

fn at_limit(world: &World) -> Step {
    let limit = limit(world)?;
    let container = world.container("a")?;
    expect("write", write_size(&container, "o", limit))?;
    let info = expect("object-info", container.object_info("o"))?;
    same("the size", info.size, limit)
}

fn over_limit(world: &World) -> Step {
    let limit = limit(world)?;
    let container = world.container("a")?;
    let words = expect_error("write", write_size(&container, "o", limit + 1))?;
    let names = words.contains(&limit.to_string());
    holds(&format!("the limit is named: {words}"), names)?;
    let there = expect("has-object", container.has_object("o"))?;
    same("has-object", there, false)?;
    expect("write", write(&container, "o", b"after it"))?;
    has_data(&container, "o", b"after it")
}

fn kept(world: &World) -> Step {
    let limit = limit(world)?;
    let container = world.container("a")?;
    expect("write", write(&container, "o", b"before it"))?;
    expect_error("write", write_size(&container, "o", limit + 1))?;
    has_data(&container, "o", b"before it")
}
