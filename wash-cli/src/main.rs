//! The `wash` program. Everything is in the library.

use std::process::ExitCode;

/// Calls allocate often and in small pieces, which this allocator does at a third of the cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    wash::main()
}
