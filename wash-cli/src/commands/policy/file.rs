//! The file with the rules.

use std::path::Path;

use super::rules::Rules;
use crate::error::{CliError, Code, Result};

/// The largest file of rules.
const MAX_BYTES: u64 = 1 << 20;

/// Reads rules from a file.
pub(super) fn read(path: &Path) -> Result<Rules> {
    let failed = |error: &std::io::Error| {
        CliError::unread(
            format!("could not read the rules `{}`", path.display()),
            error,
        )
    };
    let length = std::fs::metadata(path)
        .map_err(|error| failed(&error))?
        .len();
    if length > MAX_BYTES {
        let text = format!(
            "`{}` is larger than rules may be, {MAX_BYTES} bytes",
            path.display()
        );
        return Err(CliError::new(Code::InvalidInput, text));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    Rules::parse(&text).map_err(|error| {
        CliError::new(
            Code::InvalidInput,
            format!("`{}` holds no rules", path.display()),
        )
        .cause(error)
        .hint("docs/operating.md shows what rules look like")
    })
}
