//! Makes sure that a built file is a component; core modules that can become one do.

use std::fs;
use std::path::Path;

use wasmparser::Parser;
use wit_component::ComponentEncoder;

use super::project::Project;
use crate::error::{CliError, Code, Result};

/// The name under which modules of the wasip1 target import WASI.
const WASIP1: &str = "wasi_snapshot_preview1";

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
    let adapter = match &project.component.wasip1_adapter_path {
        Some(path) => {
            let path = project.folder.join(path);
            let bytes = fs::read(&path);
            Some(bytes.map_err(|error| format!("could not read {}: {error}", path.display()))?)
        }
        None => None,
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
