//! Makes sure that a built file is a component; core modules that can become one do.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::Path;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as WASIP1, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{BinaryReaderError, Parser, Payload};
use wit_component::ComponentEncoder;

use super::project::Project;
use crate::error::{CliError, Code, Result};

/// The bytes of the component that `bytes` are or can be made into.
pub(super) fn component(bytes: &[u8], project: &Project, artifact: &Path) -> Result<Vec<u8>> {
    let not_made = |why: String| {
        let text = format!("`{}` is not a component", artifact.display());
        CliError::new(Code::NotAnArtifact, text).cause(why)
    };
    if Parser::is_component(bytes) {
        let mut validator =
            wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all());
        validator
            .validate_all(bytes)
            .map_err(|error| not_made(error.to_string()))?;
        return Ok(bytes.to_owned());
    }
    if !Parser::is_core_wasm(bytes) {
        return Err(not_made("it is not WebAssembly".to_owned()));
    }
    encode(bytes, project).map_err(|why| {
        not_made(format!("a core module that cannot be made into one: {why}"))
            .hint("build for `wasm32-wasip2`, or set `wasip1_adapter_path` under `[component]`")
    })
}

fn encode(module: &[u8], project: &Project) -> std::result::Result<Vec<u8>, String> {
    let adapter: Option<Cow<'_, [u8]>> = match &project.component.wasip1_adapter_path {
        Some(path) => {
            let path = project.folder.join(path);
            let unread = |error: io::Error| format!("could not read {}: {error}", path.display());
            Some(Cow::Owned(fs::read(&path).map_err(unread)?))
        }
        None => usual_adapter(module)
            .map_err(|error| error.to_string())?
            .map(Cow::Borrowed),
    };
    let mut encoder = ComponentEncoder::default();
    encoder
        .validate(true)
        .module(module)
        .map_err(|error| format!("{error:#}"))?;
    if let Some(adapter) = &adapter {
        encoder
            .adapter(WASIP1, adapter)
            .map_err(|error| format!("{error:#}"))?;
    }
    encoder.encode().map_err(|error| format!("{error:#}"))
}

/// The adapter between WASI as a module of the wasip1 target imports it and that of components, if
/// it does.
fn usual_adapter(module: &[u8]) -> Result<Option<&'static [u8]>, BinaryReaderError> {
    let (mut is_wasip1, mut is_command) = (false, false);
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    is_wasip1 |= import?.module == WASIP1;
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    is_command |= export?.name == "_start";
                }
            }
            _ => {}
        }
    }
    let adapter = match is_command {
        true => WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
        false => WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
    };
    Ok(is_wasip1.then_some(adapter))
}

#[cfg(test)]
mod tests {
    use wasm_encoder::{
        CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection,
        ImportSection, MemorySection, MemoryType, Module, TypeSection, ValType,
    };

    use super::*;

    /// A module as Rust makes one for `wasm32-wasip1`, with a function of this name.
    fn of_wasip1(function: &str) -> Vec<u8> {
        let mut types = TypeSection::new();
        types.ty().function([ValType::I32], []);
        types.ty().function([], []);
        let mut imports = ImportSection::new();
        imports.import(WASIP1, "proc_exit", EntityType::Function(0));
        let mut functions = FunctionSection::new();
        functions.function(1);
        let mut memories = MemorySection::new();
        memories.memory(MemoryType {
            minimum: 1,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        let mut exports = ExportSection::new();
        exports.export("memory", ExportKind::Memory, 0);
        exports.export(function, ExportKind::Func, 1);
        let mut body = Function::new([]);
        body.instructions().i32_const(0).call(0).end();
        let mut code = CodeSection::new();
        code.function(&body);
        let mut module = Module::new();
        module.section(&types).section(&imports).section(&functions);
        module.section(&memories).section(&exports).section(&code);
        module.finish()
    }

    #[test]
    fn a_module_of_wasip1_needs_no_adapter_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let text = "name = 'x'\nlanguage = 'other'\ntype = 'component'\n";
        fs::write(folder.path().join("wasmcloud.toml"), text).unwrap();
        let project = Project::find(Some(folder.path())).unwrap();
        for function in ["_start", "_initialize"] {
            let made = component(&of_wasip1(function), &project, Path::new("x.wasm")).unwrap();
            assert!(Parser::is_component(&made), "{function}");
        }
    }
}
