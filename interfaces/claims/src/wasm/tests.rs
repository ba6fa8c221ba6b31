//! Tokens in modules and components.

use super::*;
use proptest::prelude::*;
use wasm_encoder::{
    CodeSection, Function, FunctionSection, ModuleSection, NestedComponentSection, TypeSection,
};

fn custom<'a>(name: &'a str, data: &'a str) -> CustomSection<'a> {
    CustomSection {
        name: name.into(),
        data: data.as_bytes().into(),
    }
}

/// A core module with a function, and tokens in the given sections.
fn module(tokens: &[&str]) -> Module {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut code = CodeSection::new();
    let mut body = Function::new([]);
    body.instructions().end();
    code.function(&body);
    let mut module = Module::new();
    module.section(&custom("producers", "kept"));
    for name in tokens {
        module.section(&custom(name, "a.b.c"));
    }
    module.section(&types).section(&functions).section(&code);
    module
}

/// A component that nests a module and a component, with tokens in each.
fn component(tokens: &[&str]) -> Vec<u8> {
    let mut inner = Component::new();
    inner.section(&ModuleSection(&module(tokens)));
    for name in tokens {
        inner.section(&custom(name, "inner"));
    }
    let mut outer = Component::new();
    outer.section(&ModuleSection(&module(tokens)));
    outer.section(&NestedComponentSection(&inner));
    outer.section(&custom("component-name", "kept"));
    for name in tokens {
        outer.section(&custom(name, "outer"));
    }
    outer.finish()
}

#[test]
fn tokens_are_removed_at_every_level() {
    let plain = component(&[]);
    assert_eq!(without_tokens(&plain).unwrap(), plain);
    let signed = component(&[TOKEN_SECTION, OLD_TOKEN_SECTION]);
    assert_ne!(signed, plain);
    assert_eq!(without_tokens(&signed).unwrap(), plain);
    let plain = module(&[]).finish();
    assert_eq!(
        without_tokens(&module(&[OLD_TOKEN_SECTION]).finish()).unwrap(),
        plain
    );
}

#[test]
fn the_hash_does_not_depend_on_tokens_but_on_everything_else() {
    let plain = component(&[]);
    assert_eq!(
        hash(&component(&[TOKEN_SECTION])).unwrap(),
        hash(&plain).unwrap()
    );
    assert_ne!(hash(&module(&[]).finish()).unwrap(), hash(&plain).unwrap());
    let digest = hash(&plain).unwrap();
    assert_eq!(digest.len(), 64);
    assert!(
        digest
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
    );
    assert_eq!(
        hash(&Module::new().finish()).unwrap(),
        "93A44BBB96C751218E4C00D479E4C14358122A389ACCA16205B1E4D0DC5F9476"
    );
}

#[test]
fn a_token_is_put_and_found_again() {
    for wasm in [
        module(&[]).finish(),
        component(&[]),
        component(&[TOKEN_SECTION]),
    ] {
        let signed = with_token(&wasm, "x.y.z").unwrap();
        assert_eq!(find_token(&signed).unwrap(), Some("x.y.z"));
        assert_eq!(hash(&signed).unwrap(), hash(&wasm).unwrap());
        let again = with_token(&signed, "1.2.3").unwrap();
        assert_eq!(find_token(&again).unwrap(), Some("1.2.3"));
        wasmparser::Validator::new().validate_all(&again).unwrap();
    }
}

#[test]
fn only_the_top_level_names_the_token() {
    let mut inner = Component::new();
    inner.section(&custom(TOKEN_SECTION, "inner"));
    let mut outer = Component::new();
    outer.section(&NestedComponentSection(&inner));
    assert_eq!(find_token(&outer.clone().finish()).unwrap(), None);
    outer.section(&custom(OLD_TOKEN_SECTION, "outer"));
    assert_eq!(find_token(&outer.finish()).unwrap(), Some("outer"));
}

#[test]
fn section_lengths_are_written_in_their_shortest_form() {
    let mut padded = Module::HEADER.to_vec();
    // An empty custom section `a` whose length takes five bytes.
    padded.extend([0, 0x82, 0x80, 0x80, 0x80, 0x00, 1, b'a']);
    let mut short = Module::HEADER.to_vec();
    short.extend([0, 2, 1, b'a']);
    assert_eq!(without_tokens(&padded).unwrap(), short);
}

#[test]
fn bytes_that_are_not_wasm_are_refused() {
    for bytes in [&b""[..], b"\0asm", b"#!/bin/sh", &Module::HEADER[..7]] {
        assert!(without_tokens(bytes).is_err(), "{bytes:?}");
        assert!(find_token(bytes).is_err(), "{bytes:?}");
    }
    let cut = component(&[]);
    assert!(without_tokens(&cut[..cut.len() - 3]).is_err());
}

#[test]
fn a_nesting_bomb_is_refused() {
    let mut bomb = Component::new();
    for _ in 0..=MAX_NESTING {
        let mut outer = Component::new();
        outer.section(&NestedComponentSection(&bomb));
        bomb = outer;
    }
    let bomb = bomb.finish();
    assert!(matches!(without_tokens(&bomb), Err(WasmError::TooDeep)));
    assert!(matches!(find_token(&bomb), Err(WasmError::TooDeep)));
}

#[test]
fn sections_that_are_no_text_or_too_long_are_refused() {
    let mut module = Module::new();
    module.section(&CustomSection {
        name: TOKEN_SECTION.into(),
        data: (&[0xff][..]).into(),
    });
    assert!(matches!(
        find_token(&module.finish()),
        Err(WasmError::NotText)
    ));
    let long = "x".repeat(MAX_TOKEN_BYTES + 1);
    let mut module = Module::new();
    module.section(&custom(TOKEN_SECTION, &long));
    let wasm = module.finish();
    assert!(matches!(
        find_token(&wasm),
        Err(WasmError::TokenTooLong { .. })
    ));
    assert!(with_token(&wasm, &long).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in any::<Vec<u8>>(), kind in 0usize..3) {
        let header: &[u8] = match kind {
            0 => &[],
            1 => &Module::HEADER,
            _ => &Component::HEADER,
        };
        let wasm = [header, &bytes].concat();
        let _ = find_token(&wasm);
        if let Ok(stripped) = without_tokens(&wasm) {
            prop_assert_eq!(without_tokens(&stripped).unwrap(), stripped);
        }
    }

    #[test]
    fn a_damaged_component_does_not_panic(
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
        token in "[a-z.]{0,30}",
    ) {
        let mut wasm = component(&[TOKEN_SECTION]);
        let at = at.index(wasm.len());
        wasm[at] = value;
        if let Ok(signed) = with_token(&wasm, &token) {
            prop_assert_eq!(find_token(&signed).unwrap(), Some(token.as_str()));
            prop_assert_eq!(hash(&signed).unwrap(), hash(&wasm).unwrap());
        }
    }
}
