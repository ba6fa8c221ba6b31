//! Where etcd is.

use http::Uri;
use http::uri::{Authority, Scheme};

/// A text that is no address of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no endpoint of etcd, expected `http://host:2379` or `https://host:2379`")]
pub struct InvalidEndpoint {
    text: String,
}

/// The port of an endpoint that names none.
const PORT: u16 = 2379;

/// One member of etcd, or something in front of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    scheme: Scheme,
    authority: Authority,
}

impl Endpoint {
    /// Reads `http://host:2379`; scheme and port may be missing. A login is refused: it would be
    /// ignored, and shown in errors.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = || InvalidEndpoint {
            // What stands before an `@` may be a password.
            text: text.rsplit('@').next().unwrap_or_default().to_owned(),
        };
        let trimmed = text.trim().trim_end_matches('/');
        let whole = match trimmed.contains("://") {
            true => trimmed.to_owned(),
            false => format!("http://{trimmed}"),
        };
        let uri: Uri = whole.parse().map_err(|_| invalid())?;
        let parts = uri.into_parts();
        let scheme = parts.scheme.ok_or_else(invalid)?;
        let authority = parts.authority.ok_or_else(invalid)?;
        let path = parts.path_and_query.map_or(0, |path| path.as_str().len());
        let known = scheme == Scheme::HTTP || scheme == Scheme::HTTPS;
        if !known || path > 1 || authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(invalid());
        }
        let authority = match authority.port() {
            Some(_) => authority,
            None => format!("{}:{PORT}", authority.host())
                .parse()
                .map_err(|_| invalid())?,
        };
        Ok(Self { scheme, authority })
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// The address of a function of the gateway.
    pub(crate) fn uri(&self, path: &str) -> Result<Uri, http::Error> {
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_and_port_may_be_missing() {
        for (text, is) in [
            ("etcd", "http://etcd:2379/v3/kv/put"),
            ("etcd:1", "http://etcd:1/v3/kv/put"),
            (" https://a.b/ ", "https://a.b:2379/v3/kv/put"),
            ("http://[::1]:2", "http://[::1]:2/v3/kv/put"),
            ("http://[::1]", "http://[::1]:2379/v3/kv/put"),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!(endpoint.uri("/v3/kv/put").unwrap().to_string(), is);
        }
    }

    #[test]
    fn other_texts_are_refused_without_a_password() {
        for text in ["", "ftp://a", "http://a/path", "http://me:secret@a", "a b"] {
            let error = Endpoint::parse(text).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
