//! Where a guest trapped, in words of some length: names are those that the component gives its functions,
//! and may be as long, or stand for as much, as it likes.

use std::fmt::Display;

use lattice_core::text::{clipped_bytes, clipped_line};
use wasmtime::{FrameInfo, WasmBacktrace};

/// The longest name that is told, in bytes.
const LONGEST: usize = 256;

/// The frames, a line each, the innermost first.
pub(crate) fn text(trace: &WasmBacktrace) -> String {
    let mut text = "error while executing at wasm backtrace:".to_owned();
    for (place, frame) in trace.frames().iter().enumerate() {
        let module = clipped(frame.module().name().unwrap_or("<unknown>"));
        let offset = frame.module_offset().unwrap_or_default();
        let line = format!(
            "\n  {place:>3}: {offset:#8x} - {module}!{}",
            function(frame)
        );
        text.push_str(&line);
    }
    text
}

fn function(frame: &FrameInfo) -> String {
    match frame.func_name() {
        Some(name) => readable(name),
        None => format!("<wasm function {}>", frame.func_index()),
    }
}

/// A name as its source has it, where that is Rust: those of other languages are told as they are, since what
/// they stand for has no bound.
fn readable(name: &str) -> String {
    match rustc_demangle::try_demangle(name) {
        Ok(readable) => clipped(format_args!("{readable:#}")),
        Err(_) => clipped(name),
    }
}

/// The beginning of a text, without what steers terminals. No more of it is made than is told.
fn clipped(text: impl Display) -> String {
    let begin = clipped_line(text, LONGEST + 1);
    match begin.len() > LONGEST {
        true => format!("{}…", clipped_bytes(&begin, LONGEST)),
        false => begin,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn names_of_rust_are_read_and_all_are_cut() {
        let name = "_ZN4core9panicking5panic17h0123456789abcdefE";
        assert_eq!(readable(name), "core::panicking::panic");
        assert_eq!(readable("main\u{1b}[2J"), "main [2J");
        let long = readable(&"x".repeat(100_000));
        assert_eq!(long.len(), LONGEST + "…".len());
    }

    #[test]
    fn a_name_that_stands_for_more_than_there_is_memory_is_told_as_it_is() {
        // Each level names the one below it fifty times.
        let mut name = "_Z1fI1A".to_owned();
        for level in 0..8 {
            name += "1BI";
            (0..50).for_each(|_| write!(name, "S{level}_").unwrap());
            name += "E";
        }
        name += "Evv";
        assert!(readable(&name).starts_with("_Z1fI1A1BI"));
    }
}
