//! Test guest that reaches for what a component must not have, and for what the host gives it.

wit_bindgen::generate!({
    world: "test:sandbox/sandbox",
    path: [
        "../../../interfaces/wit/wasi-config-0.2.0-draft",
        "../../../interfaces/wit/wasi-logging-0.1.0-draft",
        "wit",
    ],
    generate_all,
});

use std::io::Read as _;

use exports::test::sandbox::reach::Guest;
use wasi::config::store;
use wasi::logging::logging::{self, Level};

struct Sandbox;

impl Guest for Sandbox {
    fn environment() -> Vec<(String, String)> {
        std::env::vars().collect()
    }

    fn arguments() -> Vec<String> {
        std::env::args().collect()
    }

    fn read_file(path: String) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|error| error.to_string())
    }

    fn write_file(path: String, content: Vec<u8>) -> Result<(), String> {
        std::fs::write(path, content).map_err(|error| error.to_string())
    }

    fn connect(address: String) -> Result<(), String> {
        std::net::TcpStream::connect(address)
            .map(drop)
            .map_err(|error| error.to_string())
    }

    fn read_stdin() -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        std::io::stdin()
            .read_to_end(&mut bytes)
            .map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    fn exit(code: i32) {
        std::process::exit(code);
    }

    fn config(key: String) -> Result<Option<String>, String> {
        store::get(&key).map_err(|error| format!("{error:?}"))
    }

    fn all_config() -> Result<Vec<(String, String)>, String> {
        store::get_all().map_err(|error| format!("{error:?}"))
    }

    fn log(context: String, message: String) {
        let levels = [
            Level::Trace,
            Level::Debug,
            Level::Info,
            Level::Warn,
            Level::Error,
            Level::Critical,
        ];
        for level in levels {
            logging::log(level, &context, &message);
        }
    }
}

export!(Sandbox);
