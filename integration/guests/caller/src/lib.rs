//! Test guest that calls the probe through the host.

mod every_type;

/// Bindings of this guest's world.
mod bindings {
    wit_bindgen::generate!({
        world: "test:caller/caller",
        path: [
            "../../../interfaces/wit/wasi-io-0.2.6",
            "../../../interfaces/wit/wrpc-rpc-0.1.0",
            "../../../interfaces/wit/wasmcloud-bus-1.0.0",
            "../../../interfaces/wit/wasmcloud-bus-2.0.1",
            "../../../interfaces/wit/wasi-keyvalue-0.2.0-draft",
            "../probe/wit",
            "wit",
        ],
        additional_derives: [PartialEq],
        generate_all,
    });
}

use bindings::exports::test::caller::relay::Guest;
use bindings::test::probe::{behave, echo, keyvalue};
use bindings::wasmcloud::{bus1_0_0, bus2_0_1};

struct Caller;

impl Guest for Caller {
    fn text(value: String) -> String {
        echo::text(&value)
    }

    fn bytes(value: Vec<u8>) -> Vec<u8> {
        echo::bytes(&value)
    }

    fn every_type() -> Result<u32, String> {
        every_type::compare()
    }

    fn many(times: u32, length: u32) -> u32 {
        let text = "x".repeat(length as usize);
        (0..times).filter(|_| echo::text(&text) == text).count() as u32
    }

    fn trap(message: String) {
        behave::trap(&message);
    }

    fn sleep(milliseconds: u64) {
        behave::sleep(milliseconds);
    }

    fn spin() {
        behave::spin();
    }

    fn refuse(message: String) -> Result<(), String> {
        echo::refuse(&message)
    }

    fn text_over_link(link_name: String, value: String) -> Result<String, String> {
        use bus2_0_1::lattice::{CallTargetInterface, set_link_name};
        set_link_name(
            &link_name,
            vec![CallTargetInterface::new("test", "probe", "echo")],
        )?;
        Ok(echo::text(&value))
    }

    fn text_over_old_link(link_name: String, value: String) -> String {
        use bus1_0_0::lattice::{CallTargetInterface, set_link_name};
        set_link_name(
            &link_name,
            vec![CallTargetInterface::new("test", "probe", "echo")],
        );
        echo::text(&value)
    }

    fn increment(bucket: String, key: String, delta: u64) -> Result<u64, String> {
        keyvalue::increment(&bucket, &key, delta)
    }
}

bindings::export!(Caller with_types_in bindings);
