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

/// A path as it stands in a reference: what looks like an escape is escaped itself, and so are blanks at
/// the end, which no reference has.
pub(super) fn escaped(path: &str) -> String {
    let bytes = path.as_bytes();
    let (kept, blanks) = path.split_at(path.trim_end().len());
    let mut text = String::with_capacity(path.len());
    for (at, c) in kept.char_indices() {
        text.push(c);
        let next = bytes.get(at + 1..at + 3);
        if c == '%' && next.is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit)) {
            text.push_str("25");
        }
    }
    for byte in blanks.bytes() {
        text.push_str(&format!("%{byte:02X}"));
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
