//! Whether somebody who listens to the backend or reads its bucket sees a value.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::VALUE;

/// Whether bytes hold a value as it is, or in one of the forms that bytes are written in: Base64
/// with whatever is before it, the numbers of a list in JSON, hexadecimal numbers.
pub(super) fn shows(bytes: &[u8], value: &str) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let numbers: Vec<String> = value.bytes().map(|byte| byte.to_string()).collect();
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let base64 = (0..3).map(|before| {
        let code = STANDARD.encode(" ".repeat(before) + value);
        // The first and the last letters are of what is beside it as well.
        code[4..code.len() - 4].to_owned()
    });
    let forms = [value.to_owned(), numbers.join(","), hex];
    forms
        .into_iter()
        .chain(base64)
        .any(|form| text.contains(&form))
}

#[test]
fn a_value_is_known_in_other_forms() {
    for form in [
        VALUE.to_owned(),
        STANDARD.encode(format!("a{VALUE}")),
        serde_json::to_string(VALUE.as_bytes()).unwrap(),
    ] {
        assert!(shows(format!("..{form}..").as_bytes(), VALUE), "{form}");
    }
    assert!(!shows(b"another", VALUE));
}
