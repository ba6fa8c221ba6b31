//! Where an image comes from: references to files, registries and built-ins.

mod path;

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::id::{ImageRef, InvalidId};

/// What an [`ImageRef`] points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A file of the host's machine.
    File(PathBuf),
    /// An artifact in a registry.
    Registry(RegistryRef),
    /// A provider that is part of the host program.
    Builtin(String),
}

/// A reference to an artifact in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryRef {
    /// Host and port of the registry.
    pub authority: String,
    /// The repository in the registry.
    pub repository: String,
    /// The tag; a reference with neither tag nor digest means `latest`.
    pub tag: Option<String>,
    /// The digest, such as `sha256:…`.
    pub digest: Option<String>,
}

impl RegistryRef {
    /// Whether the reference may mean another image tomorrow.
    #[must_use]
    pub fn is_latest(&self) -> bool {
        self.digest.is_none() && self.tag.as_deref().is_none_or(|tag| tag == "latest")
    }
}

impl fmt::Display for RegistryRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.authority, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Why a text is not a reference to an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseReferenceError {
    /// The text is empty, too long or holds control characters.
    #[error(transparent)]
    Text(#[from] InvalidId),
    /// A file reference without an absolute path.
    #[error("`{reference}` does not name a file by its absolute path")]
    RelativePath {
        /// The reference as given.
        reference: String,
    },
    /// A path where a reference is expected.
    #[error("`{reference}` is a path and not a reference to an image")]
    BarePath {
        /// The reference as given.
        reference: String,
    },
    /// A built-in reference without a name.
    #[error("`{reference}` names no built-in provider")]
    NoBuiltin {
        /// The reference as given.
        reference: String,
    },
    /// A scheme nobody knows.
    #[error("`{reference}` has the unknown scheme `{scheme}`")]
    UnknownScheme {
        /// The reference as given.
        reference: String,
        /// The scheme.
        scheme: String,
    },
    /// Not of the form `registry/repository:tag`.
    #[error("`{reference}` is not of the form `registry/repository:tag`")]
    Registry {
        /// The reference as given.
        reference: String,
    },
}

impl ParseReferenceError {
    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::RelativePath { .. } | Self::BarePath { .. } => {
                "write local files as `file:///absolute/path`"
            }
            Self::NoBuiltin { .. } => "built-in providers are written `builtin://name`",
            Self::Text(_) | Self::UnknownScheme { .. } | Self::Registry { .. } => {
                "use `file:///path`, `oci://registry/repository:tag` or `builtin://name`"
            }
        }
    }
}

const FILE: &str = "file://";
const OCI: &str = "oci://";
/// Schemes of built-in providers; the first is that of the 1.9 generation.
const BUILTIN: [&str; 2] = ["wasmcloud+builtin://", "builtin://"];
const WEB: [&str; 2] = ["http://", "https://"];

/// Removes the scheme, which is how providers are named in events.
#[must_use]
pub fn without_scheme(reference: &str) -> &str {
    [FILE, OCI]
        .iter()
        .chain(&BUILTIN)
        .find_map(|scheme| reference.strip_prefix(scheme))
        .unwrap_or(reference)
}

/// The one form of a reference to a file, whichever way it is written: without escapes that need not
/// be, `.`, `..` and empty parts of its path. It leads to the same file, and a path without its scheme
/// stays one. Other references stay as they are.
///
/// ```
/// use lattice_core::reference::canonical;
///
/// assert_eq!(canonical("file:///ok/..//%62ad/x.wasm"), "file:///bad/x.wasm");
/// assert_eq!(canonical("file:///100%/x.wasm"), "file:///100%/x.wasm");
/// assert_eq!(canonical("oci://r/x:1"), "oci://r/x:1");
/// ```
#[must_use]
pub fn canonical(reference: &str) -> Cow<'_, str> {
    let (scheme, path) = match reference.strip_prefix(FILE) {
        Some(path) => (FILE, path),
        None => ("", reference),
    };
    if !path.starts_with(['/', '%']) || (scheme.is_empty() && !path.starts_with('/')) {
        return Cow::Borrowed(reference);
    }
    let path = path::escaped(&path::resolved(path));
    Cow::Owned(format!("{scheme}{path}"))
}

/// The reference to the file with this absolute path.
#[must_use]
pub fn of_file(path: &str) -> String {
    format!("{FILE}{}", path::escaped(path))
}

impl Reference {
    /// Reads an image reference.
    ///
    /// # Errors
    ///
    /// Says what the text lacks; [`ParseReferenceError::hint`] says what to write.
    pub fn parse(image: &ImageRef) -> Result<Self, ParseReferenceError> {
        let text = image.as_str();
        if let Some(path) = text.strip_prefix(FILE) {
            return parse_file(text, path);
        }
        if let Some(name) = BUILTIN.iter().find_map(|scheme| text.strip_prefix(scheme)) {
            return parse_builtin(text, name);
        }
        if let Some(rest) = text.strip_prefix(OCI) {
            return parse_registry(text, rest).map(Self::Registry);
        }
        if let Some(rest) = WEB.iter().find_map(|scheme| text.strip_prefix(scheme)) {
            return parse_registry(text, rest).map(Self::Registry);
        }
        if let Some((scheme, _)) = text.split_once("://") {
            let (reference, scheme) = (text.to_owned(), scheme.to_owned());
            return Err(ParseReferenceError::UnknownScheme { reference, scheme });
        }
        if text.starts_with(['/', '.', '~', '\\']) {
            return Err(ParseReferenceError::BarePath {
                reference: text.to_owned(),
            });
        }
        parse_registry(text, &text.to_lowercase()).map(Self::Registry)
    }
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(&ImageRef::new(text)?)
    }
}

fn parse_file(text: &str, path: &str) -> Result<Reference, ParseReferenceError> {
    let path = path::resolved(path);
    if path.len() > 1 && PathBuf::from(&path).is_absolute() && !path.contains('\0') {
        Ok(Reference::File(PathBuf::from(path)))
    } else {
        Err(ParseReferenceError::RelativePath {
            reference: text.to_owned(),
        })
    }
}

fn parse_builtin(text: &str, name: &str) -> Result<Reference, ParseReferenceError> {
    let named = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if named {
        Ok(Reference::Builtin(name.to_owned()))
    } else {
        Err(ParseReferenceError::NoBuiltin {
            reference: text.to_owned(),
        })
    }
}

fn parse_registry(text: &str, rest: &str) -> Result<RegistryRef, ParseReferenceError> {
    let fault = || ParseReferenceError::Registry {
        reference: text.to_owned(),
    };
    let (rest, digest) = match rest.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (rest, None),
    };
    let (authority, path) = rest.split_once('/').ok_or_else(fault)?;
    let (repository, tag) = match path.rsplit_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (path, None),
    };
    let plain = |part: &str, extra: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
    };
    let formed = plain(authority, ".-:_[]")
        && plain(repository, "._-/")
        && repository.split('/').all(|part| !part.is_empty())
        && tag.is_none_or(|tag| plain(tag, "._-"))
        && digest.is_none_or(|digest| plain(digest, "+._-:"));
    if !formed {
        return Err(fault());
    }
    Ok(RegistryRef {
        authority: authority.to_owned(),
        repository: repository.to_owned(),
        tag: tag.map(str::to_owned),
        digest: digest.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Reference {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn every_form_of_reference_is_read() {
        assert_eq!(
            parse("file:///a/b.wasm"),
            Reference::File("/a/b.wasm".into())
        );
        assert_eq!(
            parse("file:///a%20b.wasm"),
            Reference::File("/a b.wasm".into())
        );
        assert_eq!(
            parse("file:///100%.wasm"),
            Reference::File("/100%.wasm".into())
        );
        assert_eq!(
            parse("builtin://http-server"),
            Reference::Builtin("http-server".into())
        );
        assert_eq!(
            parse("wasmcloud+builtin://http-client"),
            Reference::Builtin("http-client".into())
        );
        for text in [
            "oci://ghcr.io/a/b:0.1",
            "https://ghcr.io/a/b:0.1",
            "GHCR.io/A/b:0.1",
        ] {
            let Reference::Registry(found) = parse(text) else {
                panic!("{text}")
            };
            assert_eq!(found.to_string(), "ghcr.io/a/b:0.1");
            assert!(!found.is_latest());
        }
    }

    #[test]
    fn tags_ports_and_digests_are_told_apart() {
        let Reference::Registry(found) = parse("oci://localhost:5000/x/y@sha256:ab") else {
            panic!("not a registry");
        };
        assert_eq!(
            (found.authority.as_str(), found.tag),
            ("localhost:5000", None)
        );
        assert_eq!(found.digest.as_deref(), Some("sha256:ab"));
        let Reference::Registry(found) = parse("localhost:5000/x") else {
            panic!()
        };
        assert!(found.is_latest());
    }

    #[test]
    fn references_that_cannot_be_meant_are_refused_with_a_hint() {
        for text in [
            "",
            "file://x.wasm",
            "file://",
            "/a/b.wasm",
            "./b.wasm",
            "ftp://x/y",
            "builtin://",
            "name",
            "reg/",
            "/x",
            "reg/a b",
            "reg//x",
            "reg/x:",
            "reg/x@",
        ] {
            let error = text.parse::<Reference>().unwrap_err();
            assert!(!error.hint().is_empty(), "{text}");
        }
    }

    #[test]
    fn event_names_have_no_scheme() {
        assert_eq!(without_scheme("file:///p/x.par"), "/p/x.par");
        assert_eq!(without_scheme("oci://r/x:1"), "r/x:1");
        assert_eq!(
            without_scheme("wasmcloud+builtin://http-server"),
            "http-server"
        );
        assert_eq!(without_scheme("r/x:1"), "r/x:1");
    }

    proptest! {
        #[test]
        fn however_a_file_is_written_its_form_is_one(
            parts in prop::collection::vec("[a-zA-Z0-9 _%ü-]{1,6}", 1..5),
            noise in prop::collection::vec(0_u8..5, 5),
            escapes in any::<u64>(),
        ) {
            prop_assume!(parts.iter().all(|part| part != "." && part != ".."));
            let plain = format!("/{}", parts.join("/"));
            let mut written = String::from("file://");
            for (part, noise) in parts.iter().zip(&noise) {
                written.push_str(["/", "//", "/./", "/x/../", "/%2e/"][usize::from(*noise)]);
                for (at, byte) in part.bytes().enumerate() {
                    match escapes >> (at % 64) & 1 == 1 || b"% ".contains(&byte) || !byte.is_ascii() {
                        true => written.push_str(&format!("%{byte:02X}")),
                        false => written.push(char::from(byte)),
                    }
                }
            }
            prop_assert_eq!(parse(&written), Reference::File(plain.clone().into()));
            let form = canonical(&written).into_owned();
            prop_assert_eq!(parse(&form), Reference::File(plain.into()));
            prop_assert_eq!(canonical(&form).into_owned(), form.clone());
            prop_assert!(!form.contains("/../") && !form.contains("/./") && form[7..].find("//").is_none());
        }

        #[test]
        fn the_one_form_of_any_text_means_the_same(text in "[/.%a-f0-9ü]{0,20}") {
            let text = format!("file:///{text}");
            let form = canonical(&text);
            prop_assert_eq!(canonical(&form), form.clone());
            prop_assert_eq!(form.parse::<Reference>().ok(), text.parse::<Reference>().ok());
        }

        #[test]
        fn no_text_makes_the_reference_parser_panic(text in any::<String>()) {
            let _ = text.parse::<Reference>();
            let _ = format!("file:///{text}").parse::<Reference>();
        }

        #[test]
        fn registry_references_format_and_parse_back(
            authority in "[a-z]{1,8}(\\.[a-z]{1,4})?(:[0-9]{1,5})?",
            repository in "[a-z]{1,6}(/[a-z0-9-]{1,6}){0,2}",
            tag in prop::option::of("[a-zA-Z0-9._-]{1,8}"),
            digest in prop::option::of("sha256:[0-9a-f]{8}"),
        ) {
            let made = RegistryRef { authority, repository, tag, digest };
            let text = format!("oci://{made}");
            prop_assert_eq!(text.parse::<Reference>().unwrap(), Reference::Registry(made));
        }
    }
}
