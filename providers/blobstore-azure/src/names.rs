//! What Azure lets containers and blobs be called.

use lattice_provider_sdk::blobstore::BlobError;

/// Containers with names of their own kind.
const SPECIAL: [&str; 3] = ["$root", "$web", "$logs"];
/// How long the name of a blob may be, in characters.
const LONGEST: usize = 1024;

/// Checks the name of a container.
pub(crate) fn container(name: &str) -> Result<(), BlobError> {
    match broken_rule(name) {
        Some(rule) if !SPECIAL.contains(&name) => Err(BlobError::container_name(name, rule)),
        _ => Ok(()),
    }
}

fn broken_rule(name: &str) -> Option<&'static str> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !(3..=63).contains(&name.len()) {
        return Some("Azure wants 3 to 63 characters");
    }
    if !name.bytes().all(|byte| inner(byte) || byte == b'-') {
        return Some("Azure wants lower-case letters, digits and hyphens");
    }
    let ends = [name.bytes().next(), name.bytes().last()];
    if !ends.into_iter().flatten().all(inner) {
        return Some("Azure wants a letter or digit at both ends");
    }
    if name.contains("--") {
        return Some("Azure wants no two hyphens in a row");
    }
    None
}

/// Checks the name of a blob.
pub(crate) fn blob(name: &str) -> Result<(), BlobError> {
    let rule = match name.chars().count() {
        0 => "Azure wants at least one character",
        1..=LONGEST if name.split('/').any(|part| matches!(part, "." | "..")) => {
            "Azure would resolve `.` and `..` between slashes"
        }
        // It would become a slash, and two names the same.
        1..=LONGEST if name.contains('\\') => "Azure wants no backslashes",
        1..=LONGEST => return Ok(()),
        _ => "Azure wants at most 1024 characters",
    };
    Err(BlobError::object_name(name, rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_by_the_rules_of_azure() {
        let long = "a".repeat(63);
        for good in ["abc", "a-b-c", "0a1", "$root", long.as_str()] {
            assert_eq!(container(good), Ok(()), "{good}");
        }
        let longer = "a".repeat(64);
        for bad in [
            "", "ab", "Abc", "a_b", "-ab", "ab-", "a--b", "a.b", "a b c", "../", "größe", "$x1",
            &longer,
        ] {
            let error = container(bad).unwrap_err().to_string();
            assert!(error.contains("Azure wants"), "{error}");
        }
    }

    #[test]
    fn blobs_may_be_called_anything_but_steps() {
        let long = "ü".repeat(1024);
        for good in ["a", "a//b", " ", "..a/b..", long.as_str()] {
            assert_eq!(blob(good), Ok(()), "{good}");
        }
        for bad in ["", "../a", "a/./b", "a/..", "a\\b", &"a".repeat(1025)] {
            assert!(blob(bad).is_err(), "{bad}");
        }
    }
}
