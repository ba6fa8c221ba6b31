//! Paths with room for parameters.

use std::collections::HashSet;
use std::fmt;

use http::{HeaderName, HeaderValue};

/// What the headers begin with that carry parameters.
const PREFIX: &str = "x-path-";

/// What is told of a path that is no template.
const EXPECTED: &str = "a path with parameters such as `/users/{id}` or `/files/{rest...}`";

/// A path in which some segments may be anything, such as `/users/{id}` or `/files/{rest...}`.
///
/// A parameter stands for one segment that is not empty; with three dots, or with a star before it
/// as in 1.x, which only the last one may have, for all that follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    One(HeaderName),
    Rest(HeaderName),
}

impl Segment {
    fn parse(part: &str) -> Result<Self, &'static str> {
        let Some(inner) = part.strip_prefix('{') else {
            let is_plain = !part.contains(['{', '}', '?', '#']);
            let literal = is_plain.then(|| Self::Literal(part.to_owned()));
            return literal.ok_or(EXPECTED);
        };
        let inner = inner.strip_suffix('}').ok_or(EXPECTED)?;
        let rest = inner.strip_suffix("...");
        let rest = rest.or_else(|| inner.strip_prefix('*'));
        let name = rest.unwrap_or(inner);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.is_empty() || !name.bytes().all(is_plain) {
            return Err("names of parameters made of letters, digits, `-` and `_`");
        }
        let header: HeaderName = format!("{PREFIX}{name}").parse().map_err(|_| EXPECTED)?;
        Ok(match rest {
            Some(_) => Self::Rest(header),
            None => Self::One(header),
        })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name_of = |header: &HeaderName| {
            let header = header.as_str();
            header.strip_prefix(PREFIX).unwrap_or(header).to_owned()
        };
        self.segments.iter().try_for_each(|segment| match segment {
            Segment::Literal(text) => write!(f, "/{text}"),
            Segment::One(name) => write!(f, "/{{{}}}", name_of(name)),
            Segment::Rest(name) => write!(f, "/{{{}...}}", name_of(name)),
        })
    }
}

/// What templates have in common that match the same paths. Those with more that is certain come
/// first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape(Vec<(u8, String)>);

/// The parameters of a request.
pub(crate) type PathParams = Vec<(HeaderName, HeaderValue)>;

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// What was expected instead.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let parts = text.strip_prefix('/').ok_or(EXPECTED)?.split('/');
        let segments = parts.map(Segment::parse).collect::<Result<Vec<_>, _>>()?;
        let mut names = HashSet::new();
        let last = segments.len() - 1;
        for (at, segment) in segments.iter().enumerate() {
            let is_new = match segment {
                Segment::Literal(_) => true,
                Segment::One(name) | Segment::Rest(name) => names.insert(name),
            };
            if !is_new {
                return Err("a path whose parameters have different names");
            }
            if matches!(segment, Segment::Rest(_)) && at != last {
                return Err("a path with the rest as its last segment");
            }
        }
        Ok(Self { segments })
    }

    /// Whether there is nothing but literal segments.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        let is_literal = |segment: &Segment| matches!(segment, Segment::Literal(_));
        self.segments.iter().all(is_literal)
    }

    pub(crate) fn shape(&self) -> Shape {
        let part = |segment: &Segment| match segment {
            Segment::Literal(text) => (0, text.clone()),
            Segment::One(_) => (1, String::new()),
            Segment::Rest(_) => (2, String::new()),
        };
        Shape(self.segments.iter().map(part).collect())
    }

    /// The parameters of a path that fits, as they stand in it.
    pub(crate) fn read(&self, path: &str) -> Option<PathParams> {
        let mut rest = Some(path.strip_prefix('/')?);
        let mut params = PathParams::new();
        for segment in &self.segments {
            let remaining = rest?;
            let (part, after) = match remaining.split_once('/') {
                Some((part, after)) => (part, Some(after)),
                None => (remaining, None),
            };
            match segment {
                Segment::Literal(text) if text == part => rest = after,
                Segment::One(name) if !part.is_empty() => {
                    let value = HeaderValue::from_bytes(part.as_bytes()).ok()?;
                    params.push((name.clone(), value));
                    rest = after;
                }
                Segment::Rest(name) => {
                    let value = HeaderValue::from_bytes(remaining.as_bytes()).ok()?;
                    params.push((name.clone(), value));
                    rest = None;
                }
                _ => return None,
            }
        }
        rest.is_none().then_some(params)
    }
}

/// Whether a header is one that carries parameters, which a client must not send itself.
pub(crate) fn is_param(name: &HeaderName) -> bool {
    name.as_str().starts_with(PREFIX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(template: &str, path: &str) -> Option<String> {
        let params = Template::parse(template).unwrap().read(path)?;
        let text = |(name, value): (HeaderName, HeaderValue)| {
            format!("{name}={}", std::str::from_utf8(value.as_bytes()).unwrap())
        };
        Some(params.into_iter().map(text).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn parameters_are_read_as_they_stand() {
        let told = |text: &str| Some(text.to_owned());
        assert_eq!(read("/users/{id}", "/users/a%2Fb"), told("x-path-id=a%2Fb"));
        assert_eq!(read("/users/{id}", "/users/josé"), told("x-path-id=josé"));
        assert_eq!(read("/f/{rest...}", "/f/é/ü"), told("x-path-rest=é/ü"));
        assert_eq!(read("/users/{id}", "/users/"), None);
        assert_eq!(read("/users/{id}", "/users/1/x"), None);
        assert_eq!(read("/{a}/x/{b}", "/1/x/2"), told("x-path-a=1 x-path-b=2"));
        assert_eq!(read("/f/{rest...}", "/f/a/b/"), told("x-path-rest=a/b/"));
        assert_eq!(read("/f/{rest...}", "/f/"), told("x-path-rest="));
        assert_eq!(read("/f/{rest...}", "/f"), None);
        assert_eq!(read("/f/{*rest}", "/f/a/b/"), told("x-path-rest=a/b/"));
        assert_eq!(read("/f/{*rest}", "/f"), None);
        assert_eq!(read("/", "/"), told(""));
        assert_eq!(read("/a", "/a/"), None);
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in [
            "a",
            "",
            "/{}",
            "/{a",
            "/a}",
            "/x{a}",
            "/{a...}/b",
            "/{a}/{A}",
            "/{*a}/b",
            "/{*a}/{a...}",
            "/a?b",
        ] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_template_is_told_as_it_is_written() {
        for text in ["/users/{id}/x", "/files/{rest...}", "/", "/a//{b}"] {
            assert_eq!(Template::parse(text).unwrap().to_string(), text);
        }
        let written = Template::parse("/f/{*Rest}").unwrap();
        assert_eq!(written.to_string(), "/f/{rest...}");
    }

    #[test]
    fn names_of_parameters_are_plain() {
        for name in ["a b", "a.b", "*", "*a...", "**a", "a*", "a|b", "ä", "a~"] {
            let error = Template::parse(&format!("/x/{{{name}}}")).unwrap_err();
            assert!(error.starts_with("names of parameters"), "{name}: {error}");
        }
        for name in ["a-b", "A_1", "*a-b", "a_b..."] {
            assert!(Template::parse(&format!("/x/{{{name}}}")).is_ok(), "{name}");
        }
    }

    #[test]
    fn the_more_is_certain_the_earlier() {
        let shape = |text: &str| Template::parse(text).unwrap().shape();
        assert!(shape("/a/{b}") < shape("/{a}/b"));
        assert!(shape("/a/{b}") < shape("/a/{rest...}"));
        assert!(shape("/a/b/{c}") < shape("/a/{b}/c"));
        assert_eq!(shape("/a/{b}"), shape("/a/{c}"));
        assert_eq!(shape("/a/{*b}"), shape("/a/{c...}"));
    }

    proptest! {
        #[test]
        fn a_path_without_parameters_fits_itself_only(
            path in "(/[a-c]{0,2}){1,3}",
            other in "(/[a-c]{0,2}){1,3}",
        ) {
            let fits = Template::parse(&path).unwrap().read(&other).is_some();
            prop_assert_eq!(fits, path == other);
        }
    }
}
