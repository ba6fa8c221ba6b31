//! Conformance guest: logs what it is told.
//!
//! A case is one of the names of `wasi:logging`. Each setting is a line: its name the level, its
//! value the context and the message with a bar between them. The setting `repeat` has all that
//! follows it logged so often.

/// Bindings of this guest's world.
mod bindings {
    wit_bindgen::generate!({
        world: "lattice:suite-logging/suite-logging",
        path: [
            "../../../interfaces/wit/wasi-logging-0.1.0-draft",
            "../suite-wit",
            "wit",
        ],
        generate_all,
    });
}

use bindings::exports::lattice::conformance::suite::{Failure, Guest, Setting};
use bindings::wasi::logging::logging as plain;
use bindings::wasi::logging0_1_0_draft::logging as draft;

struct Suite;

const PLAIN: &str = "logging";
const DRAFT: &str = "logging@0.1.0-draft";

/// Logs a line by both names in the same way.
macro_rules! log {
    ($names:ident, $level:expr, $context:expr, $message:expr) => {{
        let level = match $level {
            "trace" => $names::Level::Trace,
            "debug" => $names::Level::Debug,
            "info" => $names::Level::Info,
            "warn" => $names::Level::Warn,
            "error" => $names::Level::Error,
            "critical" => $names::Level::Critical,
            other => return Err(Failure::Failed(format!("there is no level `{other}`"))),
        };
        $names::log(level, $context, $message);
    }};
}

impl Guest for Suite {
    fn cases() -> Vec<String> {
        vec![PLAIN.to_owned(), DRAFT.to_owned()]
    }

    fn run(name: String, settings: Vec<Setting>) -> Result<(), Failure> {
        let mut times = 1;
        for Setting { name: level, value } in &settings {
            if level == "repeat" {
                times = value.parse().unwrap_or(1);
                continue;
            }
            let (context, message) = value.split_once('|').unwrap_or(("", value));
            for _ in 0..times {
                match name.as_str() {
                    PLAIN => log!(plain, level.as_str(), context, message),
                    _ => log!(draft, level.as_str(), context, message),
                }
            }
        }
        Ok(())
    }
}

bindings::export!(Suite with_types_in bindings);
