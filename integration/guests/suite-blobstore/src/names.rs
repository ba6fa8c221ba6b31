//! What objects may be called.

use crate::Case;
use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::wasi::blobstore::blobstore;
use crate::listing::all_names;
use crate::world::{Step, World, expect, expect_error, failed, has_data, holds, same, write};

pub(crate) const CASES: &[Case] = &[
    (
        "names with spaces, signs and letters of any script stay as they are",
        plain,
    ),
    ("names with slashes stay as they are", folders),
    (
        "names that look like ways out stay in their container",
        ways_out,
    ),
    (
        "names that look like one another are different objects",
        alike,
    ),
    ("a name may have 512 bytes", long),
    ("names that nothing may have are refused by name", forbidden),
    (
        "a container that the backend cannot have is refused by name",
        containers,
    ),
];

/// Whether an error is the refusal of a name.
fn is_refusal(error: &str) -> bool {
    error.contains("cannot be the name of")
}

/// Writes an object under each name and finds them all again. Names that the backend forbids are
/// returned.
fn kept(world: &World, names: &[&str]) -> Step<Vec<String>> {
    let container = world.container("a")?;
    let (mut written, mut refused) = (Vec::new(), Vec::new());
    for name in names {
        match write(&container, name, name.as_bytes()) {
            Ok(()) => written.push((*name).to_owned()),
            Err(error) if is_refusal(&error) => refused.push(error),
            Err(error) => return failed(format!("writing {name:?}: {error}")),
        }
    }
    for name in &written {
        has_data(&container, name, name.as_bytes())?;
        let info = expect("object-info", container.object_info(name))?;
        same("size", info.size, name.len() as u64)?;
    }
    let mut listed = all_names(&container)?;
    listed.sort_unstable();
    let mut wanted = written.clone();
    wanted.sort_unstable();
    same("the list", listed, wanted)?;
    for name in &written {
        expect("delete-object", container.delete_object(name))?;
        same(
            name,
            expect("has-object", container.has_object(name))?,
            false,
        )?;
    }
    Ok(refused)
}

fn all_kept(world: &World, names: &[&str]) -> Step {
    match kept(world, names)?.first() {
        None => Ok(()),
        Some(error) => failed(error),
    }
}

fn kept_or_refused(world: &World, names: &[&str]) -> Step {
    let refused = kept(world, names)?;
    match refused.first() {
        None => Ok(()),
        Some(first) => Err(Failure::Refused(format!(
            "{} of {} names: {first}",
            refused.len(),
            names.len()
        ))),
    }
}

fn plain(world: &World) -> Step {
    all_kept(
        world,
        &[
            "simple",
            "with space",
            "Grüße",
            "☃ 雪だるま",
            "קובץ",
            "a+b=c&d?e#f",
            "100%",
            "50%25",
            "quo\"ted",
            "it's",
            "semi;colon",
            "brackets[0]{1}(2)<3>",
            "star*",
            "a:b|c~d",
            "under_score-dash.dot",
            "UPPER",
        ],
    )
}

fn folders(world: &World) -> Step {
    all_kept(
        world,
        &["a/b", "a/b/c.txt", "a", "deep/er/and/deep/er", "b/ c /d"],
    )
}

fn ways_out(world: &World) -> Step {
    kept_or_refused(
        world,
        &[
            "..",
            ".",
            "../out",
            "../../etc/passwd",
            "a/../b",
            "a/../../b",
            "./a",
            "/etc/passwd",
            "//double",
            "trailing/",
            ".hidden",
            "..%2f..%2fout",
            "%2e%2e/out",
            "back\\slash",
            "..\\out",
        ],
    )
}

fn alike(world: &World) -> Step {
    let container = world.container("a")?;
    let names = ["n", "N", "n ", "n/", "n%20", "n+", "%6E", "ü", "u\u{308}"];
    let mut written = Vec::new();
    for name in names {
        match write(&container, name, name.as_bytes()) {
            Ok(()) => written.push(name),
            Err(error) if is_refusal(&error) => {}
            Err(error) => return failed(format!("writing {name:?}: {error}")),
        }
    }
    holds("at least `n` and `N` should be possible", written.len() > 1)?;
    for name in written {
        has_data(&container, name, name.as_bytes())?;
    }
    Ok(())
}

fn long(world: &World) -> Step {
    let signs = "/ü ".repeat(128);
    all_kept(world, &[&"n".repeat(512), &signs, &"deep/".repeat(100)])
}

fn forbidden(world: &World) -> Step {
    let container = world.container("a")?;
    for name in ["", &"n".repeat(5000)] {
        let error = expect_error("write", write(&container, name, b"data"))?;
        holds(
            &format!("the name should be what is refused: {error}"),
            is_refusal(&error),
        )?;
        let error = expect_error("get-data", container.get_data(name, 0, 1))?;
        holds(
            &format!("the name should be what is refused: {error}"),
            is_refusal(&error),
        )?;
    }
    same("the list", all_names(&container)?, Vec::new())
}

fn containers(_world: &World) -> Step {
    for name in ["", &"c".repeat(5000)] {
        let error = expect_error("create-container", blobstore::create_container(name))?;
        holds(
            &format!("the name should be what is refused: {error}"),
            is_refusal(&error),
        )?;
    }
    // What some backends take and others do not; those that do not say so.
    for name in ["..", "a/b", "UPPER case ü"] {
        match blobstore::create_container(name) {
            Ok(_) => expect("delete-container", blobstore::delete_container(name))?,
            Err(error) => {
                holds(
                    &format!("the name should be what is refused: {error}"),
                    is_refusal(&error),
                )?;
            }
        }
    }
    Ok(())
}
