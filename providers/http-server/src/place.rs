//! Paths with room for parameters.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};

/// What the headers begin with that carry parameters.
const PREFIX: &str = "x-path-";

/// A path in which some segments may be anything, such as `/users/{id}` or `/files/{rest...}`.
///
/// A parameter stands for one segment that is not empty; with three dots, which only the last
/// one may have, for all that follows.
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

/// What templates have in common that match the same paths. Those with more that is certain come
/// first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape(Vec<(u8, String)>);

/// The parameters of a request.
pub(crate) type PathParams = Vec<(HeaderName, HeaderValue)>;

impl Template {
    /// Reads a template; `None` for what is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<_> = text.strip_prefix('/')?.split('/').collect();
        let last = parts.len() - 1;
        let mut names = BTreeMap::new();
        let segments = parts.iter().enumerate().map(|(at, part)| {
            let Some(inner) = part.strip_prefix('{') else {
                let is_plain = !part.contains(['{', '}', '?', '#']);
                return is_plain.then(|| Segment::Literal((*part).to_owned()));
            };
            let inner = inner.strip_suffix('}')?;
            let (name, is_rest) = match inner.strip_suffix("...") {
                Some(name) => (name, true),
                None => (inner, false),
            };
            if name.is_empty() || (is_rest && at != last) {
                return None;
            }
            let header: HeaderName = format!("{PREFIX}{name}").parse().ok()?;
            if names.insert(header.as_str().to_owned(), ()).is_some() {
                return None;
            }
            Some(if is_rest {
                Segment::Rest(header)
            } else {
                Segment::One(header)
            })
        });
        let segments = segments.collect::<Option<_>>()?;
        Some(Self { segments })
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
                    params.push((name.clone(), HeaderValue::from_str(part).ok()?));
                    rest = after;
                }
                Segment::Rest(name) => {
                    params.push((name.clone(), HeaderValue::from_str(remaining).ok()?));
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
            format!("{name}={}", value.to_str().unwrap())
        };
        Some(params.into_iter().map(text).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn parameters_are_read_as_they_stand() {
        let told = |text: &str| Some(text.to_owned());
        assert_eq!(read("/users/{id}", "/users/a%2Fb"), told("x-path-id=a%2Fb"));
        assert_eq!(read("/users/{id}", "/users/"), None);
        assert_eq!(read("/users/{id}", "/users/1/x"), None);
        assert_eq!(read("/{a}/x/{b}", "/1/x/2"), told("x-path-a=1 x-path-b=2"));
        assert_eq!(read("/f/{rest...}", "/f/a/b/"), told("x-path-rest=a/b/"));
        assert_eq!(read("/f/{rest...}", "/f/"), told("x-path-rest="));
        assert_eq!(read("/f/{rest...}", "/f"), None);
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
            "/{a b}",
            "/a?b",
        ] {
            assert_eq!(Template::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_more_is_certain_the_earlier() {
        let shape = |text: &str| Template::parse(text).unwrap().shape();
        assert!(shape("/a/{b}") < shape("/{a}/b"));
        assert!(shape("/a/{b}") < shape("/a/{rest...}"));
        assert!(shape("/a/b/{c}") < shape("/a/{b}/c"));
        assert_eq!(shape("/a/{b}"), shape("/a/{c}"));
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
