//! Reading a part of an object: both ends belong to it.

use crate::Case;
use crate::bindings::wasi::blobstore::types::IncomingValue;
use crate::world::{Step, World, expect, expect_error, pattern, read, same, write};

pub(crate) const CASES: &[Case] = &[
    ("both ends of a range belong to it", inside),
    ("a range that ends past the object ends with it", clamped),
    ("a range that begins past the object has no bytes", past),
    ("a range that ends before it begins is an error", reversed),
    ("a range of a large object is exact at its ends", large),
    ("an object that is read at once has the same range", at_once),
    ("a value tells how many bytes it has", sizes),
];

const DATA: &[u8] = b"0123456789";

fn table(world: &World, rows: &[(u64, u64, &[u8])]) -> Step {
    let container = world.container("a")?;
    expect("write", write(&container, "o", DATA))?;
    for (start, end, wanted) in rows {
        let what = format!("{start} to {end}");
        let got = expect(&what, read(&container, "o", *start, *end))?;
        same(&what, got, wanted.to_vec())?;
    }
    Ok(())
}

fn inside(world: &World) -> Step {
    table(
        world,
        &[
            (0, 0, b"0"),
            (0, 1, b"01"),
            (3, 6, b"3456"),
            (5, 5, b"5"),
            (9, 9, b"9"),
            (0, 9, DATA),
        ],
    )
}

fn clamped(world: &World) -> Step {
    table(
        world,
        &[
            (0, 10, DATA),
            (8, 10, b"89"),
            (9, 1000, b"9"),
            (0, u64::MAX, DATA),
            (4, u64::MAX, b"456789"),
            (4, u64::MAX - 1, b"456789"),
        ],
    )
}

fn past(world: &World) -> Step {
    table(
        world,
        &[
            (10, 10, b""),
            (10, u64::MAX, b""),
            (500, 600, b""),
            (u64::MAX, u64::MAX, b""),
        ],
    )?;
    let container = world.container("b")?;
    expect("write", write(&container, "o", b""))?;
    for (start, end) in [(0, 0), (0, u64::MAX), (1, 2)] {
        let got = expect("no data", read(&container, "o", start, end))?;
        same("no data", got, Vec::new())?;
    }
    Ok(())
}

fn reversed(world: &World) -> Step {
    let container = world.container("a")?;
    expect("write", write(&container, "o", DATA))?;
    for (start, end) in [(1, 0), (9, 3), (u64::MAX, 0)] {
        let what = format!("{start} to {end}");
        expect_error(&what, container.get_data("o", start, end))?;
    }
    Ok(())
}

fn large(world: &World) -> Step {
    let container = world.container("a")?;
    let data = pattern(1_000_000);
    expect("write", write(&container, "o", &data))?;
    // Around the sizes of pieces that backends store and read.
    for (start, end) in [
        (0, 131_071),
        (131_071, 131_072),
        (131_072, 262_143),
        (65_535, 65_536),
        (1, 999_998),
        (999_999, 999_999),
        (524_287, 600_000),
    ] {
        let what = format!("{start} to {end}");
        let got = expect(&what, read(&container, "o", start, end))?;
        same(&what, got == data[start as usize..=end as usize], true)?;
    }
    Ok(())
}

fn at_once(world: &World) -> Step {
    let container = world.container("a")?;
    expect("write", write(&container, "o", DATA))?;
    for (start, end, wanted) in [(0, u64::MAX, DATA), (2, 4, &DATA[2..=4])] {
        let value = expect("get-data", container.get_data("o", start, end))?;
        let got = IncomingValue::incoming_value_consume_sync(value);
        same("the data", expect("consume", got)?, wanted.to_vec())?;
    }
    Ok(())
}

fn sizes(world: &World) -> Step {
    let container = world.container("a")?;
    expect("write", write(&container, "o", DATA))?;
    expect("write", write(&container, "empty", b""))?;
    for (object, start, end, wanted) in [
        ("o", 0, u64::MAX, 10),
        ("o", 2, 4, 3),
        ("o", 8, 20, 2),
        ("o", 0, 0, 1),
        ("o", 10, u64::MAX, 0),
        ("empty", 0, u64::MAX, 0),
        ("empty", 0, 0, 0),
    ] {
        let value = expect("get-data", container.get_data(object, start, end))?;
        same(&format!("{object}, {start} to {end}"), value.size(), wanted)?;
    }
    Ok(())
}
