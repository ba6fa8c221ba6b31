//! Test guest that does what a test asks, good or bad.

mod behave;
mod echo;
mod keyvalue;

/// Bindings of this guest's world.
mod bindings {
    wit_bindgen::generate!({
        world: "test:probe/probe",
        path: ["../../../interfaces/wit/wasi-keyvalue-0.2.0-draft", "wit"],
        generate_all,
    });
}

struct Probe;

bindings::export!(Probe with_types_in bindings);
