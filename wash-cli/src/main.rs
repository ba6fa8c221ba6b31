//! The `wash` program. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    wash::main()
}
