//! What a link may say: in its target config when this provider is its target, in its source config
//! when it is its source, or, preferred for what is secret, in the secrets of the same end. What the
//! provider's own config says holds for links that do not say it.
//!
//! Which broker, at either end:
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `url` | `mqtt://host:1883`, or `mqtts://host:8883` for TLS; user name and password may stand in it | `mqtt://127.0.0.1:1883` |
//! | `username`, `password` | who connects | those in `url` |
//! | `tls_ca` | certificates to trust, as PEM text | those of the system |
//! | `tls_ca_file` | as `tls_ca`, the path of a file | |
//! | `tls_cert`, `tls_key` | the client's own certificate and key, as PEM text | none |
//! | `max_message_bytes` | the largest body, either way | 16777216 |
//! | `qos` | 0: what gets lost is lost; 1: kept until it is acknowledged | 1 |
//!
//! What a component gets, with this provider as source:
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `subscriptions` | topic filters separated by commas, each `filter` or `filter\|group` | needed |
//! | `session_expiry_s` | how long the broker keeps messages for a provider that is away; a member of a group that does not come back keeps its share for so long, and that is lost then | 86400 |
//! | `client_id` | the name of the session, for this link alone: two with the same would take each other's | made of the names of the link's ends; sessions of a group's members have a number behind it |
//!
//! and how, as in [`lattice_provider_sdk::messaging`]. What comes with `qos` 0 is tried again from
//! memory when the handler refuses it; `max_deliver` of 1 does without. With this provider as target:
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `retain` | `true`: the broker keeps the last message of each topic | `false` |

use std::time::Duration;

use lattice_core::provider::SecretText;
use lattice_provider_sdk::messaging::LARGEST_BODY;
use lattice_provider_sdk::{InvalidSetting, LinkError, Settings};

use crate::message;

/// A broker and who connects to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerSettings {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept private, if it is.
    pub tls: Option<TlsSettings>,
    /// User name and password.
    pub login: Option<(String, SecretText)>,
    /// The largest body.
    pub largest: usize,
}

/// How a connection is kept private.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TlsSettings {
    /// Certificates to trust; those of the system where there are none.
    pub authority: Option<SecretText>,
    /// The client's own certificate and its key.
    pub own: Option<(SecretText, SecretText)>,
}

impl ServerSettings {
    /// Reads what a link says.
    ///
    /// # Errors
    ///
    /// [`LinkError::Invalid`] names the value.
    pub fn read(settings: &Settings) -> Result<Self, LinkError> {
        let expected = "an address like `mqtt://host:1883` or `mqtts://user:password@host:8883`";
        let address = match settings.secret("url") {
            Some(url) => Address::parse(url.expose().trim()).ok_or_else(|| {
                // A password may stand in it.
                LinkError::invalid(format!("`url` cannot be read, expected {expected}"))
            })?,
            None => Address::default(),
        };
        let tls = tls(settings, address.is_private)?;
        let password = settings.secret("password");
        let login = match settings.text("username") {
            Some(user) => Some((user.to_owned(), password.unwrap_or(SecretText::new("")))),
            None => address.login,
        };
        Ok(Self {
            host: address.host,
            port: address.port,
            tls,
            login,
            largest: settings.number("max_message_bytes", 16 << 20, 1..=LARGEST_BODY)?,
        })
    }

    /// The address without the login.
    #[must_use]
    pub fn shown(&self) -> String {
        let scheme = if self.tls.is_some() { "mqtts" } else { "mqtt" };
        format!("{scheme}://{}:{}", self.host, self.port)
    }
}

fn tls(settings: &Settings, is_private: bool) -> Result<Option<TlsSettings>, LinkError> {
    let authority = match (settings.secret("tls_ca"), settings.text("tls_ca_file")) {
        (Some(_), Some(_)) => {
            let what = "there are both `tls_ca` and `tls_ca_file`, expected one of them";
            return Err(LinkError::invalid(what));
        }
        (None, Some(path)) => {
            let pem = std::fs::read_to_string(path).map_err(|e| {
                LinkError::invalid_because(format!("could not read `tls_ca_file`, `{path}`"), e)
            })?;
            Some(SecretText::new(pem))
        }
        (text, None) => text,
    };
    let own = match (settings.secret("tls_cert"), settings.secret("tls_key")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            let what = "there is only one of `tls_cert` and `tls_key`, which need each other";
            return Err(LinkError::invalid(what));
        }
    };
    let says_tls = authority.is_some() || own.is_some();
    if says_tls && !is_private {
        let what = "there are certificates, but `url` does not begin with `mqtts://`";
        return Err(LinkError::invalid(what));
    }
    Ok(is_private.then_some(TlsSettings { authority, own }))
}

struct Address {
    host: String,
    port: u16,
    is_private: bool,
    login: Option<(String, SecretText)>,
}

impl Default for Address {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 1883,
            is_private: false,
            login: None,
        }
    }
}

impl Address {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let is_private = match scheme {
            "mqtt" | "tcp" => false,
            "mqtts" | "ssl" | "tls" => true,
            _ => return None,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                (Some((user.to_owned(), SecretText::new(password))), place)
            }
            None => (None, rest),
        };
        let usual = if is_private { 8883 } else { 1883 };
        let bracketed = place.starts_with('[');
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !bracketed || host.ends_with(']') => (host, port.parse().ok()?),
            _ => (place, usual),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let allowed = |c: char| !c.is_whitespace() && !matches!(c, '/' | '?' | '#');
        if host.is_empty() || !host.chars().all(allowed) {
            return None;
        }
        Some(Self {
            host: host.to_owned(),
            port,
            is_private,
            login,
        })
    }
}

/// What a component gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSettings {
    /// The filters as the broker takes them: those with a group are shared ones.
    pub filters: Vec<String>,
    /// Whether all of them are shared, so that each copy of the provider may have a session.
    pub shared: bool,
    /// Whether messages are kept until they are acknowledged.
    pub kept: bool,
    /// How long they are kept for a provider that is away.
    pub expiry: Duration,
    /// The name of the session, if the link gives it one.
    pub client_id: Option<String>,
}

impl SourceSettings {
    /// Reads what a link says.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(settings: &Settings) -> Result<Self, InvalidSetting> {
        settings.required(
            "subscriptions",
            "topic filters like `a/b`, `a/+`, `a/#` or `a/b|group`",
        )?;
        let expected = "topic filters like `a/b`, `a/+`, `a/#`, with a group as `a/b|group`";
        let all = |text: &str| {
            let items = text.split(',').map(str::trim);
            let filters: Option<Vec<_>> =
                items.filter(|item| !item.is_empty()).map(filter).collect();
            filters.filter(|filters| !filters.is_empty())
        };
        let filters = settings.read("subscriptions", expected, all)?;
        let filters: Vec<String> = filters.unwrap_or_default();
        let shared = filters.iter().all(|filter| filter.starts_with("$share/"));
        let seconds = settings.number("session_expiry_s", 86_400, 0..=4_000_000_000_u32)?;
        Ok(Self {
            shared,
            filters,
            kept: kept(settings)?,
            expiry: Duration::from_secs(seconds.into()),
            client_id: settings.text("client_id").map(str::to_owned),
        })
    }
}

/// Whether messages are kept until they are acknowledged.
///
/// # Errors
///
/// [`InvalidSetting`] when `qos` is another number.
pub fn kept(settings: &Settings) -> Result<bool, InvalidSetting> {
    settings.choice("qos", true, &[("0", false), ("1", true)])
}

fn filter(item: &str) -> Option<String> {
    let (filter, group) = match item.split_once('|') {
        Some((filter, group)) => (filter.trim(), Some(group.trim())),
        None => (item, None),
    };
    let plain = match filter.strip_prefix("$share/") {
        Some(rest) => rest.split_once('/').map(|(_, filter)| filter)?,
        None => filter,
    };
    if !is_filter(plain) {
        return None;
    }
    let whole = match group {
        Some(group) if group.is_empty() || group.contains(['/', '+', '#', '|']) => return None,
        Some(_) if plain != filter => return None,
        Some(group) => format!("$share/{group}/{filter}"),
        None => filter.to_owned(),
    };
    is_sound(&whole).then_some(whole)
}

fn is_filter(text: &str) -> bool {
    let mut words = text.split('/').peekable();
    while let Some(word) = words.next() {
        let is_wild = word == "+" || word == "#";
        if (word.contains(['+', '#']) && !is_wild) || (word == "#" && words.peek().is_some()) {
            return false;
        }
    }
    is_sound(text)
}

/// Whether messages can be published to this.
pub(crate) fn is_topic(text: &str) -> bool {
    is_sound(text) && !text.contains(['+', '#'])
}

fn is_sound(text: &str) -> bool {
    !text.is_empty() && text.len() <= message::LONGEST && message::is_text(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn server(values: &[(&str, &str)]) -> Result<ServerSettings, LinkError> {
        ServerSettings::read(&Settings::from_texts(values.iter().copied(), []))
    }

    fn source(values: &[(&str, &str)]) -> Result<SourceSettings, InvalidSetting> {
        SourceSettings::read(&Settings::from_texts(values.iter().copied(), []))
    }

    #[test]
    fn addresses_are_read() {
        let plain = server(&[]).unwrap();
        assert_eq!((&*plain.host, plain.port), ("127.0.0.1", 1883));
        let full = server(&[("url", "mqtts://me:p@ss@broker")]).unwrap();
        assert_eq!((&*full.host, full.port), ("broker", 8883));
        assert_eq!(full.login, Some(("me".into(), SecretText::new("p@ss"))));
        assert!(full.tls.is_some());
        let six = server(&[("url", "mqtt://[::1]:99/")]).unwrap();
        assert_eq!((&*six.host, six.port), ("::1", 99));
        let other = server(&[("url", "mqtt://a:b@h"), ("username", "c")]).unwrap();
        assert_eq!(other.login.unwrap().0, "c");
    }

    #[test]
    fn addresses_that_cannot_be_used_are_refused_without_showing_passwords() {
        for url in [
            "broker",
            "http://b",
            "mqtt://",
            "mqtt://b:x",
            "mqtt://u:secret@b/x",
        ] {
            let error = server(&[("url", url)]).unwrap_err().to_string();
            assert!(
                error.contains("`url`") && !error.contains("secret"),
                "{error}"
            );
        }
        assert!(server(&[("tls_ca", "pem")]).is_err());
        assert!(server(&[("url", "mqtts://b"), ("tls_key", "pem")]).is_err());
    }

    #[test]
    fn filters_are_read_with_their_groups() {
        let settings = source(&[("subscriptions", "a/b, c/+/d|g,e/#")]).unwrap();
        assert_eq!(settings.filters, ["a/b", "$share/g/c/+/d", "e/#"]);
        assert!(!settings.shared && settings.kept);
        assert!(source(&[("subscriptions", "$share/g/x")]).unwrap().shared);
        for bad in [
            "",
            "a/#/b",
            "a/b+",
            "a|g/h",
            "$share/g",
            "$share/g/x|h",
            "a\u{ffff}",
            "a|g\u{fdd0}",
        ] {
            let error = source(&[("subscriptions", bad)]).unwrap_err().to_string();
            assert!(error.contains("`subscriptions`"), "{error}");
        }
        assert!(source(&[("subscriptions", "a"), ("qos", "2")]).is_err());
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reading(text in ".{0,60}") {
            let _ = server(&[("url", &text)]);
            let _ = source(&[("subscriptions", &text)]);
        }

        #[test]
        fn what_is_a_topic_is_a_filter(text in "[a-z0-9/ +#.]{1,20}") {
            if is_topic(&text) {
                prop_assert!(is_filter(&text));
            }
        }
    }
}
