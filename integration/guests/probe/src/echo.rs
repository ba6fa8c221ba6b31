//! Gives back what it gets, for every type.

use crate::Probe;
use crate::bindings::exports::test::probe::echo::Guest;
use crate::bindings::test::probe::types::{Color, Permissions, Person, Plain, Shape};

impl Guest for Probe {
    fn text(value: String) -> String {
        value
    }

    fn bytes(value: Vec<u8>) -> Vec<u8> {
        value
    }

    fn texts(value: Vec<String>) -> Vec<String> {
        value
    }

    fn numbers(value: Vec<u64>) -> Vec<u64> {
        value
    }

    fn nested(value: Vec<Vec<Option<u32>>>) -> Vec<Vec<Option<u32>>> {
        value
    }

    fn plain_values(value: Plain) -> Plain {
        value
    }

    fn maybe(value: Option<String>) -> Option<String> {
        value
    }

    fn maybe_maybe(value: Option<Option<u32>>) -> Option<Option<u32>> {
        value
    }

    fn outcome(value: Result<u32, String>) -> Result<u32, String> {
        value
    }

    fn bare_outcome(value: Result<(), ()>) -> Result<(), ()> {
        value
    }

    fn person_record(value: Person) -> Person {
        value
    }

    fn people(value: Vec<Person>) -> Vec<Person> {
        value
    }

    fn shape_variant(value: Shape) -> Shape {
        value
    }

    fn shapes(value: Vec<Shape>) -> Vec<Shape> {
        value
    }

    fn color_enum(value: Color) -> Color {
        value
    }

    fn permission_flags(value: Permissions) -> Permissions {
        value
    }

    fn add(left: u32, right: u32) -> u32 {
        left.wrapping_add(right)
    }

    fn nothing() {}

    fn refuse(message: String) -> Result<(), String> {
        Err(message)
    }
}
