//! Passes a value of every type through the probe and compares what comes back.

use std::fmt::Debug;

use crate::bindings::test::probe::echo;
use crate::bindings::test::probe::types::{Address, Color, Permissions, Person, Shape};

/// Counts the values that came back as they were; stops at the first that did not.
#[derive(Default)]
struct Comparison {
    equal: u32,
}

impl Comparison {
    fn same<T: PartialEq + Debug>(&mut self, name: &str, sent: T, got: T) -> Result<(), String> {
        if sent != got {
            return Err(format!("{name}: sent {sent:?}, got {got:?}"));
        }
        self.equal += 1;
        Ok(())
    }
}

/// Returns how many values came back as they were, or the first that did not.
pub(crate) fn compare() -> Result<u32, String> {
    let mut comparison = Comparison::default();
    simple(&mut comparison)?;
    lists(&mut comparison)?;
    choices(&mut comparison)?;
    records(&mut comparison)?;
    echo::nothing();
    Ok(comparison.equal)
}

fn simple(comparison: &mut Comparison) -> Result<(), String> {
    for text in ["", "plain", "Zażółć gęślą jaźń 🦀", "with\0zero"] {
        comparison.same("text", text.to_owned(), echo::text(text))?;
    }
    let highest = (
        true,
        u8::MAX,
        i8::MAX,
        u16::MAX,
        i16::MAX,
        u32::MAX,
        i32::MAX,
        u64::MAX,
        i64::MAX,
    );
    let lowest = (false, 0, i8::MIN, 0, i16::MIN, 0, i32::MIN, 0, i64::MIN);
    for (integers, single, double, letter) in [
        (highest, f32::MAX, f64::MAX, char::MAX),
        (lowest, f32::MIN, f64::MIN_POSITIVE, '\0'),
        (lowest, f32::INFINITY, -0.0, 'ß'),
    ] {
        let (a, b, c, d, e, f, g, h, i) = integers;
        let got = echo::plain_values(&(
            a,
            b,
            c,
            d,
            e,
            f,
            g,
            h,
            i,
            single,
            double,
            letter,
            "end".to_owned(),
        ));
        let got_integers = (
            got.0, got.1, got.2, got.3, got.4, got.5, got.6, got.7, got.8,
        );
        comparison.same("integers", integers, got_integers)?;
        // As bits, because zero equals minus zero.
        comparison.same("f32", single.to_bits(), got.9.to_bits())?;
        comparison.same("f64", double.to_bits(), got.10.to_bits())?;
        comparison.same(
            "char and string",
            (letter, "end".to_owned()),
            (got.11, got.12),
        )?;
    }
    comparison.same("add", 42, echo::add(40, 2))
}

fn lists(comparison: &mut Comparison) -> Result<(), String> {
    for length in [0_usize, 1, 127, 128, 70_000] {
        let bytes: Vec<u8> = (0..length).map(|index| index as u8).collect();
        comparison.same("bytes", bytes.clone(), echo::bytes(&bytes))?;
        let numbers: Vec<u64> = (0..length as u64).map(|index| index << 33).collect();
        comparison.same("numbers", numbers.clone(), echo::numbers(&numbers))?;
    }
    let texts = vec![String::new(), "two".to_owned(), "三".to_owned()];
    comparison.same("texts", texts.clone(), echo::texts(&texts))?;
    let nested = vec![vec![], vec![None, Some(1)], vec![Some(u32::MAX)]];
    comparison.same("nested", nested.clone(), echo::nested(&nested))
}

fn choices(comparison: &mut Comparison) -> Result<(), String> {
    for maybe in [None, Some(String::new()), Some("some".to_owned())] {
        comparison.same("maybe", maybe.clone(), echo::maybe(maybe.as_deref()))?;
    }
    for maybe in [None, Some(None), Some(Some(7))] {
        comparison.same("maybe-maybe", maybe, echo::maybe_maybe(maybe))?;
    }
    for outcome in [Ok(7), Err("no".to_owned())] {
        let argument = outcome.as_ref().map(|value| *value).map_err(String::as_str);
        comparison.same("outcome", outcome.clone(), echo::outcome(argument))?;
    }
    for outcome in [Ok(()), Err(())] {
        comparison.same("bare-outcome", outcome, echo::bare_outcome(outcome))?;
    }
    for color in [Color::Red, Color::Green, Color::Blue] {
        comparison.same("color", color, echo::color_enum(color))?;
    }
    let all = Permissions::READ | Permissions::WRITE | Permissions::EXECUTE;
    for permissions in [
        Permissions::empty(),
        Permissions::READ | Permissions::EXECUTE,
        all,
    ] {
        comparison.same(
            "permissions",
            permissions,
            echo::permission_flags(permissions),
        )?;
    }
    comparison.same("refuse", Err("as told".to_owned()), echo::refuse("as told"))
}

fn records(comparison: &mut Comparison) -> Result<(), String> {
    let people = || vec![person("Ada", true), person("Grace", false)];
    comparison.same(
        "person",
        person("Ada", true),
        echo::person_record(&person("Ada", true)),
    )?;
    comparison.same("people", people(), echo::people(&people()))?;
    let shapes = || {
        vec![
            Shape::Nothing,
            Shape::Circle(1.5),
            Shape::Label("round".to_owned()),
            Shape::Owner(person("Ada", true)),
        ]
    };
    for shape in shapes() {
        let got = echo::shape_variant(&shape);
        comparison.same("shape", shape, got)?;
    }
    comparison.same("shapes", shapes(), echo::shapes(&shapes()))
}

fn person(name: &str, housed: bool) -> Person {
    Person {
        name: name.to_owned(),
        age: 36,
        emails: vec![format!("{name}@example.org"), String::new()],
        home: housed.then(|| Address {
            street: "Long Lane".to_owned(),
            number: 12,
        }),
    }
}
