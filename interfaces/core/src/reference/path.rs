//! The path in a reference to a file.

/// The path that is meant: decoded, and without parts that lead nowhere or back. What `..` leads back
/// from may be a link on the disk; its name in the path counts.
pub(super) fn resolved(path: &str) -> String {
    let decoded = percent_decoded(path);
    if !decoded.starts_with('/') {
        return decoded;
    }
    let mut parts = Vec::new();
    for part in decoded.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// A path as it stands in a reference: what looks like an escape is escaped itself, and so is what no
/// reference has, which are blanks at the end, and line breaks and the like anywhere.
pub(super) fn escaped(path: &str) -> String {
    let bytes = path.as_bytes();
    let end = path.trim_end().len();
    let mut text = String::with_capacity(path.len());
    for (at, c) in path.char_indices() {
        let next = bytes.get(at + 1..at + 3);
        let is_escape = c == '%' && next.is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
        if is_escape || c.is_control() || at >= end {
            for byte in &bytes[at..at + c.len_utf8()] {
                text.push_str(&format!("%{byte:02X}"));
            }
        } else {
            text.push(c);
        }
    }
    text
}

/// Decodes `%41` and the like as URLs do; anything malformed stays as it is.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match escape.and_then(hex_byte) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let value = digit(*digits.first()?)? * 16 + digit(*digits.get(1)?)?;
    u8::try_from(value).ok()
}
