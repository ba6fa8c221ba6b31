//! Names as types: each is checked once, where it enters the process.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The rule a text broke when it was not accepted as an id.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdRule {
    /// The text is empty.
    Empty,
    /// The text is longer than `max` bytes.
    TooLong {
        /// The longest text allowed, in bytes.
        max: usize,
    },
    /// The text holds a character that is not allowed.
    Character {
        /// The first such character.
        found: char,
        /// What is allowed instead.
        allowed: &'static str,
    },
    /// The text does not have the form of its kind.
    Form {
        /// The form in words.
        expected: &'static str,
    },
}

impl fmt::Display for IdRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::TooLong { max } => write!(f, "it is longer than {max} bytes"),
            Self::Character { found, allowed } => {
                write!(f, "{found:?} is not allowed, only {allowed}")
            }
            Self::Form { expected } => write!(f, "it is not {expected}"),
        }
    }
}

/// Why a text was not accepted as an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a valid {kind}: {rule}", Shortened(text))]
pub struct InvalidId {
    /// What the text should have been, such as `component id`.
    pub kind: &'static str,
    /// The text as it was given.
    pub text: String,
    /// The rule it broke.
    pub rule: IdRule,
}

impl InvalidId {
    /// What the reader can do about it. The message says what else is allowed.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self.rule {
            IdRule::Empty => "fill it in",
            IdRule::TooLong { .. } => "choose a shorter one",
            // Every kind allows these.
            IdRule::Character { .. } => {
                "use letters, digits and `-`, and no dots, as in `my-counter`"
            }
            IdRule::Form { .. } => "write it in that form",
        }
    }
}

/// The longest refused text that a message repeats.
const SHOWN_CHARS: usize = 80;

/// Shows the start of a text, so that a refused id cannot flood a log.
struct Shortened<'a>(&'a str);

impl fmt::Display for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(SHOWN_CHARS) {
            Some((cut, _)) => write!(f, "{}…", self.0[..cut].escape_debug()),
            None => write!(f, "{}", self.0.escape_debug()),
        }
    }
}

/// The longest entity, lattice, link or config name, in bytes.
pub const MAX_NAME_BYTES: usize = 256;
/// The longest image reference, in bytes.
pub const MAX_REFERENCE_BYTES: usize = 4096;
/// The length of a public key in text form.
pub const PUBLIC_KEY_CHARS: usize = 56;

fn check_chars(
    text: &str,
    max: usize,
    allowed: &'static str,
    accept: impl Fn(char) -> bool,
) -> Result<(), IdRule> {
    if text.is_empty() {
        return Err(IdRule::Empty);
    }
    if text.len() > max {
        return Err(IdRule::TooLong { max });
    }
    match text.chars().find(|c| !accept(*c)) {
        Some(found) => Err(IdRule::Character { found, allowed }),
        None => Ok(()),
    }
}

/// Entity and config names become keys of a JetStream bucket, whose character
/// set is narrower than that of a subject token; the dot is left out because
/// the name must stay one token.
fn check_key(text: &str) -> Result<(), IdRule> {
    check_chars(
        text,
        MAX_NAME_BYTES,
        "ASCII letters, digits, `-`, `_`, `/` and `=`",
        |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/' | '='),
    )
}

/// The lattice name is part of bucket names, the narrowest set of all.
fn check_lattice(text: &str) -> Result<(), IdRule> {
    check_chars(
        text,
        MAX_NAME_BYTES,
        "ASCII letters, digits, `-` and `_`",
        |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'),
    )
}

/// Names that travel in headers and JSON only, never as a subject token, so that
/// what the 1.9 generation stores is accepted.
fn check_printable(text: &str) -> Result<(), IdRule> {
    check_chars(
        text,
        MAX_NAME_BYTES,
        "printable characters without blanks",
        |c| !c.is_whitespace() && !c.is_control(),
    )
}

/// As [`check_printable`], with blanks between the words: clients of 1.9 only trim a link name. At its
/// ends a header would lose them.
fn check_link_name(text: &str) -> Result<(), IdRule> {
    let is_allowed = |c: char| c == ' ' || !(c.is_whitespace() || c.is_control());
    let allowed = "printable characters and plain blanks";
    check_chars(text, MAX_NAME_BYTES, allowed, is_allowed)?;
    check_ends(text)
}

fn check_image_ref(text: &str) -> Result<(), IdRule> {
    check_chars(text, MAX_REFERENCE_BYTES, "printable characters", |c| {
        !c.is_control()
    })?;
    check_ends(text)
}

fn check_ends(text: &str) -> Result<(), IdRule> {
    if text.trim() != text {
        return Err(IdRule::Form {
            expected: "free of blanks at its ends",
        });
    }
    Ok(())
}

fn check_host(text: &str) -> Result<(), IdRule> {
    if text.is_empty() {
        return Err(IdRule::Empty);
    }
    let base32 = |b: u8| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b);
    let formed =
        text.len() == PUBLIC_KEY_CHARS && text.starts_with('N') && text.bytes().all(base32);
    if formed {
        Ok(())
    } else {
        Err(IdRule::Form {
            expected: "a server key: `N` and 55 more characters of A-Z and 2-7",
        })
    }
}

fn check_wit(text: &str) -> Result<(), IdRule> {
    check_chars(text, MAX_NAME_BYTES, "ASCII letters, digits and `-`", |c| {
        c.is_ascii_alphanumeric() || c == '-'
    })?;
    let words_formed = text.split('-').all(|word| !word.is_empty())
        && text.starts_with(|c: char| c.is_ascii_alphabetic());
    if words_formed {
        Ok(())
    } else {
        Err(IdRule::Form {
            expected: "words of letters and digits joined by single dashes",
        })
    }
}

macro_rules! text_id {
    ($(#[$meta:meta])* $name:ident, $kind:literal, $check:path) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and takes it over.
            ///
            /// # Errors
            ///
            /// Returns [`InvalidId`], which names the text and the rule it broke.
            pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidId> {
                let text = text.as_ref();
                match $check(text) {
                    Ok(()) => Ok(Self(Arc::from(text))),
                    Err(rule) => Err(InvalidId { kind: $kind, text: text.to_owned(), rule }),
                }
            }

            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidId;
            fn try_from(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id! {
    /// The name of one isolated set of hosts.
    LatticeName, "lattice name", check_lattice
}
text_id! {
    /// The id of an entity: a component or a provider.
    ComponentId, "component or provider id", check_key
}
text_id! {
    /// The public key of a host.
    HostId, "host id", check_host
}
text_id! {
    /// Selects among several links of one source for the same interface.
    LinkName, "link name", check_link_name
}
text_id! {
    /// An interface as a link names it: 1.9 stores any text, such as
    /// `incoming-handler@0.2.0`. See [`crate::link::lookup_name`] for comparing them.
    InterfaceName, "interface name", check_printable
}
text_id! {
    /// The name of a stored config or secret reference.
    ConfigName, "config name", check_key
}
text_id! {
    /// The name of a secrets backend: one token of a subject, and part of the name of a bucket.
    BackendName, "name of a secrets backend", check_lattice
}
text_id! {
    /// Where a component or provider is read from; see [`crate::reference`].
    ImageRef, "image reference", check_image_ref
}
text_id! {
    /// A namespace, package, interface or function name in WIT.
    WitName, "WIT name", check_wit
}

/// The text of the default lattice and of the default link.
pub const DEFAULT_NAME: &str = "default";

impl Default for LatticeName {
    fn default() -> Self {
        Self(Arc::from(DEFAULT_NAME))
    }
}

impl Default for LinkName {
    fn default() -> Self {
        Self(Arc::from(DEFAULT_NAME))
    }
}

impl ConfigName {
    /// Whether the name stands for a secret reference and not a plain config.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        crate::config::is_secret_name(&self.0)
    }
}

#[cfg(test)]
mod tests;
