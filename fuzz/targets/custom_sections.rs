//! Feeds modules and components to the token functions of `lattice-claims`.
#![no_main]

use lattice_claims::{verify_component, wasm};
use libfuzzer_sys::fuzz_target;

const MODULE: [u8; 8] = *b"\0asm\x01\0\0\0";
const COMPONENT: [u8; 8] = *b"\0asm\x0d\0\x01\0";

fuzz_target!(|data: &[u8]| {
    check(data);
    if let Some((shape, rest)) = data.split_first() {
        let header = if shape & 1 == 0 { MODULE } else { COMPONENT };
        check(&[&header, rest].concat());
    }
});

fn check(bytes: &[u8]) {
    let _ = verify_component(bytes, 0);
    let _ = wasm::find_token(bytes);
    let Ok(stripped) = wasm::without_tokens(bytes) else {
        return;
    };
    assert_eq!(
        wasm::without_tokens(&stripped).as_ref().ok(),
        Some(&stripped)
    );
    assert_eq!(wasm::find_token(&stripped).ok(), Some(None));
    let signed = wasm::with_token(bytes, "a.b.c").expect("a readable file takes a token");
    assert_eq!(wasm::find_token(&signed).ok(), Some(Some("a.b.c")));
    assert_eq!(wasm::hash(&signed).ok(), wasm::hash(bytes).ok());
}
