//! From bytes to a component: recognising what they are and wrapping core modules.

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Encoding, Parser, Payload};

use crate::PrepareError;

/// Refuses what is too large, before anything else is done with it.
pub(crate) fn check_size(wasm: &[u8], limit: u64) -> Result<(), PrepareError> {
    let size = wasm.len() as u64;
    if size > limit {
        return Err(PrepareError::TooLarge { size, limit });
    }
    Ok(())
}

/// Whether these are the bytes of a component. Otherwise they are those of a core module.
pub(crate) fn is_component(wasm: &[u8]) -> Result<bool, PrepareError> {
    match Parser::new(0).parse_all(wasm).next() {
        Some(Ok(Payload::Version { encoding, .. })) => Ok(encoding == Encoding::Component),
        _ => Err(PrepareError::NotWasm {
            found: describe(wasm),
        }),
    }
}

/// Refuses types that are nested so deep that reading them takes more stack than there is: the compiler's
/// own reader goes down into each, and a stack that overflows ends the process.
pub(crate) fn check_types(component: &[u8]) -> Result<(), PrepareError> {
    let read = || {
        for payload in Parser::new(0).parse_all(component) {
            if let Payload::ComponentTypeSection(types) = payload? {
                types.into_iter().try_for_each(|item| item.map(drop))?;
            }
        }
        Ok::<_, wasmparser::BinaryReaderError>(())
    };
    read().map_err(|error| PrepareError::Compile(wasmtime::Error::msg(error.to_string())))
}

/// Says what bytes look like that are not WebAssembly.
fn describe(bytes: &[u8]) -> String {
    match bytes {
        [] => "nothing, it is empty".to_owned(),
        [b'\0', b'a', b's', b'm', ..] => "an unknown version of WebAssembly".to_owned(),
        [0x1f, 0x8b, ..] => "a gzip archive".to_owned(),
        [0x7f, b'E', b'L', b'F', ..] => "an ELF binary".to_owned(),
        [b'(', ..] => "text; WebAssembly text has to be assembled first".to_owned(),
        _ => {
            let head: Vec<String> = bytes.iter().take(8).map(|b| format!("{b:02x}")).collect();
            format!("the bytes {}", head.join(" "))
        }
    }
}

struct Module {
    has_types: bool,
    is_command: bool,
}

fn inspect(wasm: &[u8]) -> Result<Module, wasmparser::BinaryReaderError> {
    let mut module = Module {
        has_types: false,
        is_command: false,
    };
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::CustomSection(section) if section.name().starts_with("component-type") => {
                module.has_types = true;
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    module.is_command |= export?.name == "_start";
                }
            }
            _ => {}
        }
    }
    Ok(module)
}

/// A component around a core module, which takes a while to make.
pub(crate) fn wrap(wasm: &[u8]) -> Result<Vec<u8>, PrepareError> {
    let refuse = |reason: String| PrepareError::CoreModule { reason };
    let module = inspect(wasm).map_err(|error| refuse(format!("it is malformed: {error}")))?;
    if !module.has_types && !module.is_command {
        return Err(refuse(
            "it has no `component-type` section that says which interfaces it uses; \
             build it for wasm32-wasip2 or with wit-bindgen"
                .to_owned(),
        ));
    }
    let adapter = if module.is_command {
        WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER
    } else {
        WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER
    };
    wit_component::ComponentEncoder::default()
        .validate(true)
        .module(wasm)
        .and_then(|encoder| encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter))
        .and_then(|encoder| encoder.encode())
        .map_err(|error| refuse(format!("{error:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error<T: std::fmt::Debug>(refused: Result<T, PrepareError>) -> String {
        refused.unwrap_err().to_string()
    }

    #[test]
    fn types_that_are_nested_too_deep_are_refused_before_they_are_compiled() {
        let component = |depth: usize| {
            let mut section = vec![1];
            section.extend([0x42, 1, 1].repeat(depth));
            section.extend([0x42, 0]);
            let mut bytes = b"\0asm\x0d\0\x01\0\x07".to_vec();
            let mut left = section.len();
            while left >= 0x80 {
                bytes.push((left % 0x80) as u8 | 0x80);
                left /= 0x80;
            }
            bytes.push(left as u8);
            bytes.extend(section);
            bytes
        };
        check_types(&component(20)).unwrap();
        for depth in [1000, 300_000] {
            let error = check_types(&component(depth)).unwrap_err();
            assert!(matches!(error, PrepareError::Compile(_)), "{error}");
        }
    }

    #[test]
    fn what_is_not_wasm_is_named() {
        let named: [(&[u8], &str); 5] = [
            (b"", "empty"),
            (&[0x1f, 0x8b, 8, 0], "gzip"),
            (b"(component)", "text"),
            (b"hello", "68 65 6c 6c 6f"),
            (b"\0asm\x63\0\0\0", "unknown version"),
        ];
        for (wasm, name) in named {
            assert!(error(is_component(wasm)).contains(name), "{name}");
        }
    }

    #[test]
    fn components_and_modules_are_told_apart() {
        for (text, is_one) in [("(component)", true), ("(module)", false)] {
            let wasm = wat::parse_str(text).unwrap();
            assert_eq!(is_component(&wasm).unwrap(), is_one, "{text}");
        }
    }

    #[test]
    fn a_module_without_types_is_refused_with_the_reason() {
        let wasm = wat::parse_str("(module)").unwrap();
        assert!(error(wrap(&wasm)).contains("component-type"));
    }

    #[test]
    fn a_module_of_a_command_becomes_a_component() {
        let wasm = wat::parse_str(
            r#"(module
                 (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                 (memory (export "memory") 1)
                 (func (export "_start") (call $exit (i32.const 0))))"#,
        )
        .unwrap();
        let component = wrap(&wasm).unwrap();
        assert!(Parser::is_component(&component));
    }

    #[test]
    fn a_size_above_the_limit_is_refused() {
        let error = check_size(&[0; 11], 10).unwrap_err();
        assert!(matches!(
            error,
            PrepareError::TooLarge {
                size: 11,
                limit: 10
            }
        ));
        check_size(&[0; 10], 10).unwrap();
    }
}
