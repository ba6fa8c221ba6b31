//! Greets and keeps count of whom: a provider that is itself a component, with a provider of its own behind it.

wit_bindgen::generate!({
    world: "example:provider-component/provider",
    path: [
        "../../interfaces/wit/wasi-keyvalue-0.2.0-draft",
        "../greeter/wit",
        "wit",
    ],
    generate_all,
});

use exports::example::greet::greeter::Guest;
use wasi::keyvalue::{atomics, store};

struct Greeter;

impl Guest for Greeter {
    fn greet(name: String) -> String {
        match visits(&name) {
            Ok(1) => format!("Welcome, {name}!"),
            Ok(count) => format!("Welcome back, {name}! That is visit {count}."),
            // A greeting without a count is better than none.
            Err(_) => format!("Welcome, {name}!"),
        }
    }
}

fn visits(name: &str) -> Result<u64, store::Error> {
    let visitors = store::open("default")?;
    atomics::increment(&visitors, name, 1)
}

export!(Greeter);
