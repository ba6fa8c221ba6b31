//! What browsers of other origins may do.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
    VARY,
};
use http::{HeaderMap, HeaderValue, Method};

/// Who may read answers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origins {
    Any,
    Listed(Vec<HeaderValue>),
}

/// The policy of one link, as ready-made header values.
#[derive(Debug, Clone)]
pub(crate) struct Cors {
    origins: Origins,
    pub(crate) allowed_headers: HeaderValue,
    pub(crate) allowed_methods: HeaderValue,
    pub(crate) exposed_headers: HeaderValue,
    pub(crate) max_age: HeaderValue,
}

impl Default for Cors {
    fn default() -> Self {
        Self {
            origins: Origins::Any,
            allowed_headers: HeaderValue::from_static(
                "accept,accept-language,content-type,content-language",
            ),
            allowed_methods: HeaderValue::from_static("GET,POST,PUT,DELETE,HEAD,OPTIONS"),
            exposed_headers: HeaderValue::from_static("*"),
            max_age: HeaderValue::from_static("300"),
        }
    }
}

/// What a response is marked with, found out before the request is given away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    allow_origin: Option<HeaderValue>,
    by_origin: bool,
}

impl Cors {
    /// Lets only these origins in; `None` when one of them cannot be one.
    pub(crate) fn with_origins(mut self, origins: &[String]) -> Option<Self> {
        if origins.is_empty() || origins.iter().any(|origin| origin == "*") {
            self.origins = Origins::Any;
            return Some(self);
        }
        let listed = origins
            .iter()
            // A browser sends an origin without the slash that people like to write.
            .map(|origin| HeaderValue::from_str(origin.trim_end_matches('/')).ok())
            .collect::<Option<Vec<_>>>()?;
        self.origins = Origins::Listed(listed);
        Some(self)
    }

    /// Whether a request asks what is allowed, which is answered here. Other OPTIONS requests are
    /// the component's.
    pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
        *method == Method::OPTIONS
            && headers.contains_key(ORIGIN)
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// Finds out what the response to a request with these headers is marked with.
    pub(crate) fn mark(&self, headers: &HeaderMap) -> Mark {
        match &self.origins {
            Origins::Any => Mark {
                allow_origin: Some(HeaderValue::from_static("*")),
                by_origin: false,
            },
            Origins::Listed(listed) => Mark {
                allow_origin: headers
                    .get(ORIGIN)
                    .filter(|origin| listed.contains(origin))
                    .cloned(),
                by_origin: true,
            },
        }
    }

    /// Writes the headers of the answer to a preflight request.
    pub(crate) fn write_preflight(&self, mark: Mark, headers: &mut HeaderMap) {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, self.allowed_methods.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, self.allowed_headers.clone());
        headers.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        self.write(mark, headers);
    }

    /// Marks a response, unless the component did so itself.
    pub(crate) fn write(&self, mark: Mark, headers: &mut HeaderMap) {
        if mark.by_origin {
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            return;
        }
        if let Some(origin) = mark.allow_origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, self.exposed_headers.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(origin: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, HeaderValue::from_static(origin));
        headers
    }

    #[test]
    fn any_origin_may_read_all_headers_by_default() {
        let cors = Cors::default();
        let mut headers = HeaderMap::new();
        cors.write(cors.mark(&from("https://a.example")), &mut headers);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert_eq!(headers[ACCESS_CONTROL_EXPOSE_HEADERS], "*");
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn only_listed_origins_are_let_in() {
        let origins = ["https://a.example/".to_owned()];
        let cors = Cors::default().with_origins(&origins).unwrap();
        let mut headers = HeaderMap::new();
        cors.write(cors.mark(&from("https://a.example")), &mut headers);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "https://a.example");
        assert_eq!(headers[VARY], "origin");
        let mut headers = HeaderMap::new();
        cors.write(cors.mark(&from("https://b.example")), &mut headers);
        assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
        assert_eq!(headers[VARY], "origin");
    }

    #[test]
    fn what_the_component_says_stands() {
        let cors = Cors::default();
        let mut headers = HeaderMap::new();
        let own = HeaderValue::from_static("https://c.example");
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, own.clone());
        cors.write(cors.mark(&HeaderMap::new()), &mut headers);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], own);
    }

    #[test]
    fn only_real_preflights_are_taken_from_the_component() {
        let mut headers = from("https://a.example");
        assert!(!Cors::is_preflight(&Method::OPTIONS, &headers));
        let put = HeaderValue::from_static("PUT");
        headers.insert(ACCESS_CONTROL_REQUEST_METHOD, put);
        assert!(Cors::is_preflight(&Method::OPTIONS, &headers));
        assert!(!Cors::is_preflight(&Method::GET, &headers));
    }
}
