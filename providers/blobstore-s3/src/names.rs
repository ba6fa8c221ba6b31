//! What S3 lets buckets and objects be called.

use std::net::Ipv4Addr;

use lattice_provider_sdk::blobstore::BlobError;

/// How long the name of an object may be, in bytes.
const LONGEST_KEY: usize = 1024;

/// Checks the name of a bucket.
pub(crate) fn bucket(name: &str) -> Result<(), BlobError> {
    match broken_rule(name) {
        Some(rule) => Err(BlobError::container_name(name, rule)),
        None => Ok(()),
    }
}

fn broken_rule(name: &str) -> Option<&'static str> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !(3..=63).contains(&name.len()) {
        return Some("S3 wants 3 to 63 characters");
    }
    if !name
        .bytes()
        .all(|byte| inner(byte) || b"-.".contains(&byte))
    {
        return Some("S3 wants lower-case letters, digits, hyphens and dots");
    }
    let ends = [name.bytes().next(), name.bytes().last()];
    if !ends.into_iter().flatten().all(inner) {
        return Some("S3 wants a letter or digit at both ends");
    }
    if name.contains("..") {
        return Some("S3 wants no two dots in a row");
    }
    if name.parse::<Ipv4Addr>().is_ok() {
        return Some("S3 wants nothing that looks like an address");
    }
    None
}

/// Checks the name of an object.
pub(crate) fn object(name: &str) -> Result<(), BlobError> {
    let rule = match name.len() {
        0 => "S3 wants at least one character",
        1..=LONGEST_KEY => return Ok(()),
        _ => "S3 wants at most 1024 bytes",
    };
    Err(BlobError::object_name(name, rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_by_the_rules_of_s3() {
        let long = "a".repeat(63);
        for good in ["abc", "a.b-c", "0a1", long.as_str()] {
            assert_eq!(bucket(good), Ok(()), "{good}");
        }
        let longer = "a".repeat(64);
        for bad in [
            "", "ab", "Abc", "a_b", "-ab", "ab.", "a..b", "10.0.0.1", "a b c", "../", "größe",
            &longer,
        ] {
            let error = bucket(bad).unwrap_err().to_string();
            assert!(error.contains("S3 wants"), "{error}");
        }
    }

    #[test]
    fn objects_may_be_called_anything_of_some_length() {
        let long = "ü".repeat(512);
        for good in ["a", "../b", " ", "a//b", long.as_str()] {
            assert_eq!(object(good), Ok(()), "{good}");
        }
        assert!(object("").is_err());
        assert!(object(&"a".repeat(1025)).is_err());
    }
}
