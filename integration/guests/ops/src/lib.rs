//! Test guest that does one thing with a capability again and again within one call, so that the
//! cost of that call is spread thin over what is measured.
//!
//! | kind | what is done each time |
//! | --- | --- |
//! | `key-value-set`, `key-value-get` | the value of the key `place` in the link's own bucket |
//! | `blob-write`, `blob-read` | the object `place` in the container `ops`, whole |
//! | `publish`, `request` | a message to the subject `place`; the latter waits for the answer |
//! | `queue-cycle` | sends to the queue `place`, receives from it, acknowledges |
//! | `sql-prepare` | makes the table that the others use, with so many rows |
//! | `sql-query`, `sql-execute` | reads or changes one row by its key |
//! | `lock-cycle` | acquires the lock `place` and releases it |
//! | `schedule-put` | puts the job `place` |
//! | `http-get` | `GET /` at the address `place`, with the body of the answer |

mod blobs;
mod http;
mod key_value;
mod lock;
mod messages;
mod queue;
mod schedule;
mod sql;

/// Bindings of this guest's world.
mod bindings {
    wit_bindgen::generate!({
        world: "test:ops/operator",
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

use bindings::exports::test::ops::ops::Guest;

/// What an operation comes to, or why it did not.
type Done = Result<(), String>;

/// How often, and with how much.
#[derive(Clone, Copy)]
struct Amount {
    times: u32,
    size: u32,
}

impl Amount {
    /// As many bytes as are to be written.
    fn bytes(self) -> Vec<u8> {
        vec![7; self.size as usize]
    }

    /// Does something so many times, up to the first error.
    fn each(self, mut one: impl FnMut(u32) -> Done) -> Done {
        (0..self.times).try_for_each(&mut one)
    }
}

/// An error in words.
fn told(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

struct Operator;

impl Guest for Operator {
    fn run(kind: String, place: String, times: u32, size: u32) -> Done {
        let amount = Amount { times, size };
        match kind.as_str() {
            "key-value-set" => key_value::set(&place, amount),
            "key-value-get" => key_value::get(&place, amount),
            "blob-write" => blobs::write(&place, amount),
            "blob-read" => blobs::read(&place, amount),
            "publish" => messages::publish(&place, amount),
            "request" => messages::request(&place, amount),
            "queue-cycle" => queue::cycle(&place, amount),
            "sql-prepare" => sql::prepare(amount),
            "sql-query" => sql::query(amount),
            "sql-execute" => sql::execute(amount),
            "lock-cycle" => lock::cycle(&place, amount),
            "schedule-put" => schedule::put(&place, amount),
            "http-get" => http::get(&place, amount),
            other => Err(format!("there is no kind `{other}`")),
        }
    }
}

bindings::export!(Operator with_types_in bindings);
