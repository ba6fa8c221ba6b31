//! Requests that take a detour.

mod answer;

use std::fmt;

use http::uri::Scheme;
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use lattice_codec::http::ErrorCode;
use lattice_core::provider::SecretText;
use lattice_provider_sdk::{InvalidSetting, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::fault::{Fault, of_io};
use crate::stream::Stream;

/// The longest answer of a proxy to `CONNECT`.
const LONGEST_ANSWER: usize = 16 * 1024;

/// The proxies of a link as it names them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Proxies {
    http: Option<SecretText>,
    https: Option<SecretText>,
    no: String,
    /// Whether the proxies themselves keep requests from addresses that are not public.
    checks: bool,
}

impl Proxies {
    pub(crate) fn read(settings: &Settings) -> Result<Self, InvalidSetting> {
        Ok(Self {
            http: proxy(settings, "http_proxy")?,
            https: proxy(settings, "https_proxy")?,
            no: settings.text("no_proxy").unwrap_or_default().to_owned(),
            checks: settings.switch("proxy_checks", false)?,
        })
    }

    pub(crate) fn matcher(&self) -> ProxyChoice {
        let text = |proxy: &Option<SecretText>| {
            let text = proxy.as_ref().map(SecretText::expose);
            text.unwrap_or_default().to_owned()
        };
        let matcher = Matcher::builder()
            .http(text(&self.http))
            .https(text(&self.https))
            .no(self.no.clone())
            .build();
        ProxyChoice {
            matcher,
            checks: self.checks,
            addresses: [&self.http, &self.https]
                .into_iter()
                .flatten()
                .filter_map(|proxy| proxy.expose().parse().ok())
                .collect(),
        }
    }
}

/// The address of a proxy. Since it may hold a login, it is not shown when it cannot be used.
fn proxy(settings: &Settings, key: &str) -> Result<Option<SecretText>, InvalidSetting> {
    let Some(text) = settings.secret(key) else {
        return Ok(None);
    };
    let uri = text.expose().parse::<Uri>().ok();
    let is_one = uri.is_some_and(|uri| {
        uri.host().is_some_and(|host| !host.is_empty())
            && matches!(uri.scheme_str(), Some("http" | "https"))
            && matches!(uri.path(), "" | "/")
    });
    if is_one {
        return Ok(Some(text));
    }
    Err(InvalidSetting::Value {
        key: key.to_owned(),
        value: "<hidden>".to_owned(),
        expected: "an address such as `http://proxy:3128`".to_owned(),
    })
}

/// Finds the proxy of a request.
pub(crate) struct ProxyChoice {
    matcher: Matcher,
    checks: bool,
    /// Each of them.
    addresses: Vec<Uri>,
}

impl fmt::Debug for ProxyChoice {
    // Their addresses may hold logins.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyChoice").finish_non_exhaustive()
    }
}

impl ProxyChoice {
    pub(crate) fn of(&self, uri: &Uri) -> Option<Intercept> {
        self.matcher.intercept(uri)
    }

    /// Whether the proxies look at addresses themselves.
    pub(crate) fn check(&self) -> bool {
        self.checks
    }

    /// All proxies, with whatever login.
    pub(crate) fn addresses(&self) -> &[Uri] {
        &self.addresses
    }

    /// The login of the proxy that a request in plain text is sent to.
    pub(crate) fn login(&self, uri: &Uri) -> Option<HeaderValue> {
        if uri.scheme() != Some(&Scheme::HTTP) {
            return None;
        }
        self.of(uri)?.basic_auth().cloned()
    }
}

/// Has a proxy pass on all that is sent to `target` from here on.
pub(crate) async fn tunnel(
    stream: &mut Stream,
    target: &str,
    login: Option<&HeaderValue>,
) -> Result<(), Fault> {
    let mut ask = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(login) = login {
        ask.extend_from_slice(b"Proxy-Authorization: ");
        ask.extend_from_slice(login.as_bytes());
        ask.extend_from_slice(b"\r\n");
    }
    ask.extend_from_slice(b"\r\n");
    let broken =
        |error: std::io::Error| Fault(of_io(&error).unwrap_or(ErrorCode::ConnectionTerminated));
    stream.write_all(&ask).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut answer = Vec::new();
    // Byte by byte at its end, so that nothing of what follows is taken.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() > LONGEST_ANSWER {
            return Err(Fault(answer::refused("a head that is too long")));
        }
        match stream.read_u8().await {
            Ok(byte) => answer.push(byte),
            Err(error) => return Err(broken(error)),
        }
    }
    answer::accepted(&answer).map_err(Fault)
}
