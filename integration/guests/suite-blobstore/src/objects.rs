//! Objects: what is known of them, deleting, copying and moving.

use crate::Case;
use crate::bindings::wasi::blobstore::blobstore::{copy_object, move_object};
use crate::bindings::wasi::blobstore::container::Container;
use crate::bindings::wasi::blobstore::types::ObjectId;
use crate::world::{
    Step, World, expect, expect_error, has_data, holds, id, is_now, pattern, same, write,
};

pub(crate) const CASES: &[Case] = &[
    ("an object is there from its writing to its deletion", life),
    ("an object tells its size and when it was written", told),
    ("an object without data is there", empty),
    (
        "an object that is not there is an error to read, and none to delete",
        absent,
    ),
    ("writing again replaces the whole object", replaced),
    (
        "several objects are deleted at once, also those that are not there",
        deleted,
    ),
    (
        "what can be deleted is deleted when something else cannot",
        deleted_in_part,
    ),
    ("a copy has the data and its source stays", copied),
    ("a copy replaces what is in its place", copied_over),
    ("a moved object is at its new place only", moved),
    (
        "an object that is copied or moved onto itself stays",
        onto_itself,
    ),
    ("what is not there is not copied or moved", nothing_copied),
    ("a large object is copied and moved as a whole", large),
];

fn life(world: &World) -> Step {
    let container = world.container("a")?;
    same(
        "before",
        expect("has-object", container.has_object("o"))?,
        false,
    )?;
    expect("write", write(&container, "o", b"data"))?;
    same(
        "has-object",
        expect("has-object", container.has_object("o"))?,
        true,
    )?;
    has_data(&container, "o", b"data")?;
    expect("delete-object", container.delete_object("o"))?;
    same(
        "after",
        expect("has-object", container.has_object("o"))?,
        false,
    )?;
    expect_error("get-data", container.get_data("o", 0, 3)).map(drop)
}

fn told(world: &World) -> Step {
    let container = world.container("a")?;
    for size in [0, 1, 4096, 300_001] {
        expect("write", write(&container, "o", &pattern(size)))?;
        let info = expect("object-info", container.object_info("o"))?;
        same("size", info.size, size as u64)?;
        same("name", info.name, "o".to_owned())?;
        same(
            "container",
            info.container,
            expect("name", container.name())?,
        )?;
        if world.feature("created-at") != Some("containers") {
            is_now("created-at", info.created_at)?;
        }
    }
    Ok(())
}

fn empty(world: &World) -> Step {
    let container = world.container("a")?;
    expect("write", write(&container, "o", b""))?;
    same(
        "has-object",
        expect("has-object", container.has_object("o"))?,
        true,
    )?;
    has_data(&container, "o", b"")?;
    expect(
        "copy",
        copy_object(&of(&container, "o")?, &of(&container, "p")?),
    )?;
    has_data(&container, "p", b"")
}

fn absent(world: &World) -> Step {
    let container = world.container("a")?;
    let error = expect_error("get-data", container.get_data("none", 0, 10))?;
    holds(
        &format!("the error should name the object: {error}"),
        error.contains("none"),
    )?;
    expect_error("object-info", container.object_info("none"))?;
    expect("delete-object", container.delete_object("none"))
}

fn replaced(world: &World) -> Step {
    let container = world.container("a")?;
    for data in [&pattern(200_000)[..], b"short", b"", b"again"] {
        expect("write", write(&container, "o", data))?;
        has_data(&container, "o", data)?;
    }
    let info = expect("object-info", container.object_info("o"))?;
    same("size", info.size, 5)
}

fn deleted(world: &World) -> Step {
    let container = world.container("a")?;
    let names: Vec<_> = (0..25).map(|number| format!("o{number}")).collect();
    for name in &names {
        expect("write", write(&container, name, b"data"))?;
    }
    expect("write", write(&container, "kept", b"data"))?;
    let mut all = names.clone();
    all.extend(["none".to_owned(), "no/such".to_owned()]);
    expect("delete-objects", container.delete_objects(&all))?;
    for name in &names {
        same(
            name,
            expect("has-object", container.has_object(name))?,
            false,
        )?;
    }
    has_data(&container, "kept", b"data")?;
    expect("delete-objects", container.delete_objects(&[]))
}

fn deleted_in_part(world: &World) -> Step {
    let container = world.container("a")?;
    expect("write", write(&container, "a", b"data"))?;
    expect("write", write(&container, "b", b"data"))?;
    // No object is called nothing, and some backends have none with the other names.
    let names = ["a", "", "no/../such", "no\\such", "b"].map(str::to_owned);
    expect_error("delete-objects", container.delete_objects(&names))?;
    for name in ["a", "b"] {
        same(
            name,
            expect("has-object", container.has_object(name))?,
            false,
        )?;
    }
    Ok(())
}

fn of(container: &Container, object: &str) -> Step<ObjectId> {
    Ok(id(&expect("name", container.name())?, object))
}

fn copied(world: &World) -> Step {
    let (from, to) = (world.container("a")?, world.container("b")?);
    expect("write", write(&from, "o", b"data"))?;
    expect(
        "copy",
        copy_object(&of(&from, "o")?, &of(&to, "copies/o 1")?),
    )?;
    expect("copy", copy_object(&of(&from, "o")?, &of(&from, "o2")?))?;
    has_data(&to, "copies/o 1", b"data")?;
    has_data(&from, "o2", b"data")?;
    expect("write", write(&from, "o", b"changed"))?;
    has_data(&to, "copies/o 1", b"data")
}

fn copied_over(world: &World) -> Step {
    let (from, to) = (world.container("a")?, world.container("b")?);
    expect("write", write(&from, "o", b"new"))?;
    expect("write", write(&to, "o", &pattern(100_000)))?;
    expect("copy", copy_object(&of(&from, "o")?, &of(&to, "o")?))?;
    has_data(&to, "o", b"new")
}

fn moved(world: &World) -> Step {
    let (from, to) = (world.container("a")?, world.container("b")?);
    expect("write", write(&from, "o", b"data"))?;
    expect("write", write(&to, "p", b"other"))?;
    expect("move", move_object(&of(&from, "o")?, &of(&to, "p")?))?;
    has_data(&to, "p", b"data")?;
    same(
        "has-object",
        expect("has-object", from.has_object("o"))?,
        false,
    )?;
    expect("move", move_object(&of(&to, "p")?, &of(&to, "q")?))?;
    has_data(&to, "q", b"data")?;
    same(
        "has-object",
        expect("has-object", to.has_object("p"))?,
        false,
    )
}

fn onto_itself(world: &World) -> Step {
    let container = world.container("a")?;
    expect("write", write(&container, "o", b"data"))?;
    expect(
        "copy",
        copy_object(&of(&container, "o")?, &of(&container, "o")?),
    )?;
    has_data(&container, "o", b"data")?;
    expect(
        "move",
        move_object(&of(&container, "o")?, &of(&container, "o")?),
    )?;
    has_data(&container, "o", b"data")
}

fn nothing_copied(world: &World) -> Step {
    let container = world.container("a")?;
    let absent = id(&world.name("b"), "o");
    expect("write", write(&container, "o", b"data"))?;
    for carry in [copy_object, move_object] {
        let (none, other) = (of(&container, "none")?, of(&container, "p")?);
        expect_error("an absent source", carry(&none, &other))?;
        same(
            "has-object",
            expect("has-object", container.has_object("p"))?,
            false,
        )?;
        expect_error("an absent container", carry(&of(&container, "o")?, &absent))?;
        expect_error("an absent container", carry(&absent, &other))?;
        has_data(&container, "o", b"data")?;
    }
    Ok(())
}

fn large(world: &World) -> Step {
    let container = world.container("a")?;
    let data = pattern(3_000_000);
    expect("write", write(&container, "o", &data))?;
    expect(
        "copy",
        copy_object(&of(&container, "o")?, &of(&container, "p")?),
    )?;
    expect(
        "move",
        move_object(&of(&container, "o")?, &of(&container, "q")?),
    )?;
    has_data(&container, "p", &data)?;
    has_data(&container, "q", &data)
}
