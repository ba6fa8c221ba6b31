//! Tokens in wasm files: finding, removing and adding the custom section, and
//! the hash that a token vouches for.

use std::ops::Range;

use sha2::{Digest, Sha256};
use wasm_encoder::{
    Component, ComponentSectionId, CustomSection, Encode, Module, RawSection, Section,
};
use wasmparser::{Encoding, Parser, Payload};

use crate::token::MAX_TOKEN_BYTES;

/// The section a token is written to.
pub const TOKEN_SECTION: &str = "wasmcloud_jwt";
/// The section older tools wrote to.
const OLD_TOKEN_SECTION: &str = "jwt";

/// How deep components may be nested. Each level is copied into the one above,
/// so the depth bounds the work per byte.
const MAX_NESTING: usize = 64;

/// Why a file could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WasmError {
    /// The bytes are not wasm.
    #[error("file is not a well-formed wasm module or component")]
    Parse(#[source] wasmparser::BinaryReaderError),
    /// The file ends before its last section.
    #[error("wasm file ends too early")]
    Truncated,
    /// Components are nested too deeply.
    #[error("wasm file nests components more than {MAX_NESTING} levels deep")]
    TooDeep,
    /// The section is not text.
    #[error("the token section of the wasm file is not text")]
    NotText,
    /// The section is longer than a token may be.
    #[error(
        "the token section of the wasm file has {bytes} bytes, over the limit of {MAX_TOKEN_BYTES}"
    )]
    TokenTooLong {
        /// The length of the section.
        bytes: usize,
    },
}

fn is_token_section(name: &str) -> bool {
    name == TOKEN_SECTION || name == OLD_TOKEN_SECTION
}

/// Finds the token at the top level of a module or component.
///
/// # Errors
///
/// Fails for bytes that are not wasm and for sections that cannot be a token.
pub fn find_token(wasm: &[u8]) -> Result<Option<&str>, WasmError> {
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(WasmError::Parse)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 0 && is_token_section(section.name()) => {
                return token_text(section.data()).map(Some);
            }
            _ => {}
        }
        if depth > MAX_NESTING {
            return Err(WasmError::TooDeep);
        }
    }
    Ok(None)
}

fn token_text(data: &[u8]) -> Result<&str, WasmError> {
    if data.len() > MAX_TOKEN_BYTES {
        return Err(WasmError::TokenTooLong { bytes: data.len() });
    }
    std::str::from_utf8(data).map_err(|_| WasmError::NotText)
}

/// One module or component while it is written again.
struct Level {
    encoding: Encoding,
    bytes: Vec<u8>,
}

impl Level {
    fn new(encoding: Encoding) -> Self {
        let header = match encoding {
            Encoding::Module => Module::HEADER,
            Encoding::Component => Component::HEADER,
        };
        Self {
            encoding,
            bytes: header.to_vec(),
        }
    }

    /// Appends a finished inner module or component as a section.
    fn nest(&mut self, inner: &Self) {
        let id = match inner.encoding {
            Encoding::Module => ComponentSectionId::CoreModule,
            Encoding::Component => ComponentSectionId::Component,
        };
        RawSection {
            id: id.into(),
            data: &inner.bytes,
        }
        .append_to(&mut self.bytes);
    }
}

/// Writes a wasm file again without its tokens, at every nesting level, with
/// all section lengths in their shortest form.
///
/// # Errors
///
/// Fails for bytes that are not wasm.
pub fn without_tokens(wasm: &[u8]) -> Result<Vec<u8>, WasmError> {
    let mut outer: Vec<Level> = Vec::new();
    let mut current: Option<Level> = None;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(WasmError::Parse)?;
        match &payload {
            Payload::Version { encoding, .. } => {
                outer.extend(current.replace(Level::new(*encoding)));
                if outer.len() > MAX_NESTING {
                    return Err(WasmError::TooDeep);
                }
            }
            // The inner version, sections and end follow as payloads of their own.
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {}
            Payload::CustomSection(section) if is_token_section(section.name()) => {}
            Payload::End(_) => match (outer.pop(), current.take()) {
                (Some(mut parent), Some(inner)) => {
                    parent.nest(&inner);
                    current = Some(parent);
                }
                (_, finished) => return finished.map(|f| f.bytes).ok_or(WasmError::Truncated),
            },
            other => {
                if let (Some((id, range)), Some(level)) = (other.as_section(), current.as_mut()) {
                    let data = section_data(wasm, range)?;
                    RawSection { id, data }.append_to(&mut level.bytes);
                }
            }
        }
    }
    Err(WasmError::Truncated)
}

fn section_data(wasm: &[u8], range: Range<u64>) -> Result<&[u8], WasmError> {
    let bounds = (usize::try_from(range.start), usize::try_from(range.end));
    let (Ok(start), Ok(end)) = bounds else {
        return Err(WasmError::Truncated);
    };
    wasm.get(start..end).ok_or(WasmError::Truncated)
}

/// The hash a token vouches for: SHA-256 of the file without its tokens, in
/// upper-case hexadecimal.
///
/// # Errors
///
/// Fails for bytes that are not wasm.
pub fn hash(wasm: &[u8]) -> Result<String, WasmError> {
    Ok(hex_digest(&without_tokens(wasm)?))
}

/// SHA-256 in upper-case hexadecimal.
pub(crate) fn hex_digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect()
}

/// Writes a wasm file again with `token` as its only one.
///
/// # Errors
///
/// Fails for bytes that are not wasm and for tokens that nobody would read.
pub fn with_token(wasm: &[u8], token: &str) -> Result<Vec<u8>, WasmError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(WasmError::TokenTooLong { bytes: token.len() });
    }
    let mut bytes = without_tokens(wasm)?;
    let section = CustomSection {
        name: TOKEN_SECTION.into(),
        data: token.as_bytes().into(),
    };
    // Modules and components frame custom sections alike.
    bytes.push(section.id());
    section.encode(&mut bytes);
    Ok(bytes)
}

#[cfg(test)]
mod tests;
