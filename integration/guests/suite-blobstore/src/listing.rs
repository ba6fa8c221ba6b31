//! The names of the objects in a container.

use std::collections::BTreeSet;

use crate::Case;
use crate::bindings::wasi::blobstore::container::{Container, StreamObjectNames};
use crate::bindings::wasi::blobstore::types::OutgoingValue;
use crate::world::{Step, World, body, expect, failed, holds, put, same, write};

pub(crate) const CASES: &[Case] = &[
    ("a container without objects has no names", none),
    ("each object is listed once", once),
    ("names are read and passed over as far as asked for", paged),
    ("the order of names does not change", order),
    ("10,001 objects are listed", many),
];

/// How many objects the last case writes; the driver may say otherwise.
const MANY: usize = 10_001;
/// How many are written at once.
const AT_ONCE: usize = 128;

fn open(container: &Container) -> Step<StreamObjectNames> {
    expect("list-objects", container.list_objects())
}

fn next(names: &StreamObjectNames, count: u64) -> Step<(Vec<String>, bool)> {
    expect(
        "read-stream-object-names",
        names.read_stream_object_names(count),
    )
}

/// All names.
pub(crate) fn all_names(container: &Container) -> Step<Vec<String>> {
    let names = open(container)?;
    let mut all = Vec::new();
    loop {
        let (page, ended) = next(&names, 1000)?;
        if page.is_empty() && !ended {
            return failed("a page has no names and is not the last");
        }
        all.extend(page);
        if ended {
            return Ok(all);
        }
    }
}

fn none(world: &World) -> Step {
    let container = world.container("a")?;
    same("the list", all_names(&container)?, Vec::new())?;
    let (skipped, ended) = expect("skip", open(&container)?.skip_stream_object_names(5))?;
    same("skipped", (skipped, ended), (0, true))
}

fn once(world: &World) -> Step {
    let container = world.container("a")?;
    let mut wanted: Vec<_> = (0..40).map(|number| format!("o{number}")).collect();
    for name in &wanted {
        expect("write", write(&container, name, b"data"))?;
    }
    // Written again, it is still one.
    expect("write", write(&container, "o7", b"more"))?;
    expect("delete-object", container.delete_object("o8"))?;
    wanted.retain(|name| name != "o8");
    let mut got = all_names(&container)?;
    got.sort_unstable();
    wanted.sort_unstable();
    same("the list", got, wanted)
}

fn paged(world: &World) -> Step {
    let container = world.container("a")?;
    for number in 0..25 {
        expect("write", write(&container, &format!("o{number}"), b"data"))?;
    }
    let all = all_names(&container)?;
    let names = open(&container)?;
    let (first, ended) = next(&names, 7)?;
    same("the first page", &first[..], &all[..7])?;
    same("the end", ended, false)?;
    let skipped = expect("skip", names.skip_stream_object_names(5))?;
    same("skipped", skipped, (5, false))?;
    let (second, _) = next(&names, 10)?;
    same("the second page", &second[..], &all[12..22])?;
    let (last, ended) = next(&names, 100)?;
    same("the last page", &last[..], &all[22..])?;
    same("the end", ended, true)?;
    let (after, ended) = next(&names, 100)?;
    same("after the end", (after.len(), ended), (0, true))?;
    let skipped = expect("skip", open(&container)?.skip_stream_object_names(1000))?;
    same("skipped", skipped, (25, true))
}

fn order(world: &World) -> Step {
    let container = world.container("a")?;
    for number in [5, 3, 9, 1, 7, 20, 11] {
        expect("write", write(&container, &format!("o{number}"), b"data"))?;
    }
    let first = all_names(&container)?;
    for _ in 0..3 {
        same("the list", all_names(&container)?, first.clone())?;
    }
    if world.feature("order") == Some("name") {
        let mut sorted = first.clone();
        sorted.sort_unstable();
        same("the order", first, sorted)?;
    }
    Ok(())
}

fn many(world: &World) -> Step {
    let container = world.container("a")?;
    let many = world.number("many", MANY);
    let mut wanted = BTreeSet::new();
    let names: Vec<_> = (0..many).map(|number| format!("object {number}")).collect();
    for some in names.chunks(AT_ONCE) {
        let mut values = Vec::new();
        for name in some {
            let value = OutgoingValue::new_outgoing_value();
            expect("write-data", container.write_data(name, &value))?;
            let stream = expect("write-body", body(&value))?;
            expect("write", put(&stream, b"x"))?;
            drop(stream);
            values.push(value);
            wanted.insert(name.as_str());
        }
        for value in values {
            expect("finish", OutgoingValue::finish(value))?;
        }
    }
    let listed = open(&container)?;
    let mut count = 0;
    loop {
        let (page, ended) = next(&listed, 999)?;
        holds(
            "a page should not have more names than asked for",
            page.len() <= 999,
        )?;
        for name in &page {
            if !wanted.remove(name.as_str()) {
                return failed(format!("`{name}` is listed twice, or was not written"));
            }
        }
        count += page.len();
        if ended {
            break;
        }
    }
    same("how many", count, many)?;
    expect("clear", container.clear())?;
    same("after clearing", all_names(&container)?, Vec::new())
}
