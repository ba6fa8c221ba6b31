//! Greets by name through an interface of its own, which other components call over the lattice.

wit_bindgen::generate!({ world: "greeting", path: "wit" });

use exports::example::greet::greeter::Guest;

struct Greeter;

impl Guest for Greeter {
    fn greet(name: String) -> String {
        format!("Hello, {name}!")
    }
}

export!(Greeter);
