//! Random names.

use std::fmt::Write as _;

/// So many random bytes, as twice as many letters and digits.
///
/// # Errors
///
/// That of the system, when it gives none.
pub(crate) fn hex(count: usize) -> Result<String, getrandom::Error> {
    let mut bytes = vec![0; count];
    getrandom::fill(&mut bytes)?;
    let mut text = String::with_capacity(2 * count);
    for byte in bytes {
        // A text takes whatever is written.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}
