//! Test guest that calls another component again and again within one call of its own, so that the
//! cost of the outer call is spread thin over the inner ones.

/// Bindings of this guest's world.
mod bindings {
    wit_bindgen::generate!({
        world: "test:repeater/repeater",
        path: ["../echo/wit", "wit"],
        generate_all,
    });
}

use bindings::exports::test::repeater::repeat::Guest;
use bindings::test::echo::echo;

struct Repeater;

impl Guest for Repeater {
    fn bytes(times: u32, length: u32) -> u32 {
        let sent = vec![7; length as usize];
        (0..times)
            .filter(|_| echo::bytes(&sent).len() == sent.len())
            .count() as u32
    }
}

bindings::export!(Repeater with_types_in bindings);
