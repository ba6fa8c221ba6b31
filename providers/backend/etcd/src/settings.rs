//! What links say of their etcd.

use std::time::Duration;

use lattice_backend_http::TlsOptions;
use lattice_provider_sdk::{InvalidSetting, Settings};

use crate::client::EtcdOptions;
use crate::endpoint::Endpoint;

/// The bounds of time limits, in milliseconds.
const LIMITS: std::ops::RangeInclusive<u64> = 10..=60_000;

impl EtcdOptions {
    /// Reads what a link says:
    ///
    /// | key | meaning | default |
    /// | --- | --- | --- |
    /// | `endpoints` or `url` | the members of etcd, separated by commas; scheme and port may be missing | `http://127.0.0.1:2379` |
    /// | `user`, `password` | who logs in; the password is better a secret | nobody |
    /// | `tls_ca` | authorities to trust besides those of the system, as PEM text | |
    /// | `tls_cert`, `tls_key` | our own certificate and its key, as PEM texts | |
    /// | `connect_timeout_ms` | how long a connection may take | 2000 |
    /// | `answer_timeout_ms` | how long a member may take to answer | 3000 |
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(settings: &Settings) -> Result<Self, InvalidSetting> {
        let expected = "addresses such as `http://host:2379`, separated by commas";
        let split = |text: &str| {
            let all = text
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty());
            let all: Vec<String> = all.map(str::to_owned).collect();
            let good = !all.is_empty() && all.iter().all(|text| Endpoint::parse(text).is_ok());
            good.then_some(all)
        };
        let read = |key| {
            let read = settings.read(key, expected, split);
            read.map_err(|error| match settings.text(key) {
                // What stands before an `@` may be a password.
                Some(text) if text.contains('@') => InvalidSetting::Value {
                    key: key.to_owned(),
                    value: "(hidden)".to_owned(),
                    expected: expected.to_owned(),
                },
                _ => error,
            })
        };
        let endpoints = match read("endpoints")? {
            Some(endpoints) => Some(endpoints),
            None => read("url")?,
        };
        let defaults = Self::at(endpoints.unwrap_or_else(|| vec!["http://127.0.0.1:2379".into()]));
        let login = match settings.text("user") {
            Some(user) => {
                settings.required("password", "that of the `user`")?;
                let password = settings.secret("password").unwrap_or_default();
                Some((user.to_owned(), password))
            }
            None => None,
        };
        let millis = |key, default: Duration| settings.millis(key, default, LIMITS);
        let text = |key| settings.text(key).map(str::to_owned);
        Ok(Self {
            login,
            tls: TlsOptions {
                roots: text("tls_ca"),
                certificate: text("tls_cert"),
                key: text("tls_key"),
            },
            connect_limit: millis("connect_timeout_ms", defaults.connect_limit)?,
            answer_limit: millis("answer_timeout_ms", defaults.answer_limit)?,
            endpoints: defaults.endpoints,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&str, &str)]) -> Result<EtcdOptions, InvalidSetting> {
        EtcdOptions::read(&Settings::from_texts(values.to_vec(), []))
    }

    #[test]
    fn endpoints_are_a_list() {
        let options = read(&[("endpoints", "a:1, https://b ,")]).unwrap();
        assert_eq!(options.endpoints, ["a:1", "https://b"]);
        assert_eq!(read(&[("URL", "c")]).unwrap().endpoints, ["c"]);
        assert_eq!(read(&[]).unwrap().endpoints, ["http://127.0.0.1:2379"]);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (values, key) in [
            (&[("endpoints", "ftp://a")][..], "endpoints` is `ftp://a`"),
            (&[("url", "a,http://me:secret@b")], "url` is `(hidden)`"),
            (&[("user", "me")], "password"),
            (&[("answer_timeout_ms", "1")], "answer_timeout_ms"),
        ] {
            let error = read(values).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
