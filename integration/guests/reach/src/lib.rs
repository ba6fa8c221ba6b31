//! Test guest that makes one call of a capability, with the names that it is told.
//!
//! | what | names |
//! | --- | --- |
//! | `get`, `set`, `delete`, `exists`, `increment` | bucket, key |
//! | `list-keys` | bucket |
//! | `get-many`, `set-many`, `delete-many` | bucket, keys |
//! | `create-container`, `clear-container`, `list-objects` | container |
//! | `write`, `read` | container, object |
//! | `copy` | container, object, container, object |
//! | `publish` | subject, perhaps one for the reply |
//! | `request` | subject |
//! | `send`, `receive`, `depth` | queue |
//! | `query`, `execute` | database, statement |
//! | `acquire`, `inspect` | store, lock |
//! | `put-job`, `delete-job` | job |
//! | `list-jobs` | |
//! | `http` | method, scheme, authority, path |

mod blobs;
mod http;
mod key_value;
mod others;

/// Bindings of this guest's world.
mod bindings {
    wit_bindgen::generate!({
        world: "test:reach/reacher",
        path: [
            "../../../interfaces/wit/wasi-io-0.2.6",
            "../../../interfaces/wit/wasi-clocks-0.2.6",
            "../../../interfaces/wit/wasi-random-0.2.6",
            "../../../interfaces/wit/wasi-filesystem-0.2.6",
            "../../../interfaces/wit/wasi-sockets-0.2.6",
            "../../../interfaces/wit/wasi-cli-0.2.6",
            "../../../interfaces/wit/wasi-http-0.2.6",
            "../../../interfaces/wit/wasi-keyvalue-0.2.0-draft",
            "../../../interfaces/wit/wasi-blobstore-0.2.0-draft",
            "../../../interfaces/wit/wasmcloud-messaging-0.2.0",
            "../../../interfaces/wit/lattice-queue-0.1.0",
            "../../../interfaces/wit/lattice-sql-0.1.0",
            "../../../interfaces/wit/lattice-lock-0.1.0",
            "../../../interfaces/wit/lattice-schedule-0.1.0",
            "wit",
        ],
        generate_all,
    });
}

use bindings::exports::test::reach::reach::Guest;

/// What came of a call, or why it was refused.
type Done = Result<String, String>;

/// An error in words.
fn told(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

/// A success with nothing to tell.
fn done(_: ()) -> String {
    String::new()
}

struct Reacher;

impl Guest for Reacher {
    fn run(what: String, names: Vec<String>) -> Done {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = key_value::run(&what, &names)
            .or_else(|| blobs::run(&what, &names))
            .or_else(|| others::run(&what, &names))
            .or_else(|| http::run(&what, &names));
        found.unwrap_or_else(|| Err(format!("there is no `{what}` with {names:?}")))
    }
}

bindings::export!(Reacher with_types_in bindings);
