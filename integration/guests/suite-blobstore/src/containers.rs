//! Containers themselves.

use crate::Case;
use crate::bindings::wasi::blobstore::blobstore;
use crate::world::{Step, World, expect, expect_error, has_data, holds, is_now, same, write};

pub(crate) const CASES: &[Case] = &[
    (
        "a container is there from its creation to its deletion",
        life,
    ),
    (
        "creating a container that is there keeps what is in it",
        created_twice,
    ),
    (
        "deleting a container that is not there is no error",
        deleted_twice,
    ),
    ("a container that is not there cannot be opened", absent),
    ("a container tells its name and when it was created", told),
    (
        "a container is deleted with its objects",
        deleted_with_objects,
    ),
    ("clearing keeps the container and nothing in it", cleared),
    ("containers do not mix", apart),
];

fn exists(name: &str) -> Step<bool> {
    expect("container-exists", blobstore::container_exists(name))
}

fn life(world: &World) -> Step {
    let name = world.name("a");
    same("exists before", exists(&name)?, false)?;
    expect("create-container", blobstore::create_container(&name))?;
    same("exists", exists(&name)?, true)?;
    expect("get-container", blobstore::get_container(&name))?;
    expect("delete-container", blobstore::delete_container(&name))?;
    same("exists after", exists(&name)?, false)
}

fn created_twice(world: &World) -> Step {
    let first = world.container("a")?;
    expect("write", write(&first, "o", b"kept"))?;
    let name = expect("name", first.name())?;
    let second = expect("create again", blobstore::create_container(&name))?;
    has_data(&second, "o", b"kept")
}

fn deleted_twice(world: &World) -> Step {
    let name = world.name("a");
    expect("delete-container", blobstore::delete_container(&name))?;
    world.container("a")?;
    expect("delete-container", blobstore::delete_container(&name))?;
    expect("delete again", blobstore::delete_container(&name))
}

fn absent(world: &World) -> Step {
    let name = world.name("a");
    expect_error("get-container", blobstore::get_container(&name))?;
    // One that goes while it is open.
    let container = world.container("b")?;
    let name = expect("name", container.name())?;
    expect("delete-container", blobstore::delete_container(&name))?;
    expect_error("info", container.info())?;
    expect_error("write", write(&container, "o", b"x"))?;
    expect_error("get-data", container.get_data("o", 0, 1))?;
    expect_error("clear", container.clear())?;
    same("exists", exists(&name)?, false)
}

fn told(world: &World) -> Step {
    let container = world.container("a")?;
    let name = world.name("a");
    same("name", expect("name", container.name())?, name.clone())?;
    let info = expect("info", container.info())?;
    same("name in the info", info.name, name)?;
    match world.feature("created-at") {
        Some("objects" | "none") => Ok(()),
        _ => is_now("created-at", info.created_at),
    }
}

fn deleted_with_objects(world: &World) -> Step {
    let container = world.container("a")?;
    for object in ["x", "y/z"] {
        expect("write", write(&container, object, b"data"))?;
    }
    let name = expect("name", container.name())?;
    expect("delete-container", blobstore::delete_container(&name))?;
    let again = expect("create-container", blobstore::create_container(&name))?;
    for object in ["x", "y/z"] {
        same(
            object,
            expect("has-object", again.has_object(object))?,
            false,
        )?;
    }
    Ok(())
}

fn cleared(world: &World) -> Step {
    let container = world.container("a")?;
    for object in ["x", "y/z", "z"] {
        expect("write", write(&container, object, b"data"))?;
    }
    expect("clear", container.clear())?;
    for object in ["x", "y/z", "z"] {
        same(
            object,
            expect("has-object", container.has_object(object))?,
            false,
        )?;
    }
    let name = expect("name", container.name())?;
    holds("the container should still be there", exists(&name)?)?;
    expect("clear again", container.clear())
}

fn apart(world: &World) -> Step {
    let (one, other) = (world.container("a")?, world.container("b")?);
    expect("write", write(&one, "o", b"one"))?;
    same(
        "has-object",
        expect("has-object", other.has_object("o"))?,
        false,
    )?;
    expect("write", write(&other, "o", b"other"))?;
    has_data(&one, "o", b"one")?;
    expect("delete-object", other.delete_object("o"))?;
    expect("clear", other.clear())?;
    has_data(&one, "o", b"one")
}
