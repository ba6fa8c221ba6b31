//! The signature `SharedKey`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, RANGE,
};
use http::{HeaderMap, Method};
use lattice_core::provider::SecretText;
use sha2::Sha256;

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// What stands in a signed text, in its order; `None` for the date, which is told in another header.
const STANDARD_HEADERS: [Option<HeaderName>; 11] = [
    Some(CONTENT_ENCODING),
    Some(CONTENT_LANGUAGE),
    Some(CONTENT_LENGTH),
    Some(CONTENT_MD5),
    Some(CONTENT_TYPE),
    None,
    Some(IF_MODIFIED_SINCE),
    Some(IF_MATCH),
    Some(IF_NONE_MATCH),
    Some(IF_UNMODIFIED_SINCE),
    Some(RANGE),
];

/// What is signed of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a Method,
    /// The path as it is sent.
    pub(crate) path: &'a str,
    /// Names and values as they are meant.
    pub(crate) query: &'a [(&'a str, &'a str)],
    pub(crate) headers: &'a HeaderMap,
}

impl Signed<'_> {
    /// The text that is signed.
    pub(crate) fn text(&self, account: &str) -> String {
        let mut text = self.method.to_string();
        for name in &STANDARD_HEADERS {
            text.push('\n');
            let value = name.as_ref().map_or("", |name| self.value(name));
            // A length of nothing is not told.
            if name.as_ref() != Some(&CONTENT_LENGTH) || value != "0" {
                text += value;
            }
        }
        text.push('\n');
        let own: BTreeMap<_, _> = self
            .headers
            .keys()
            .filter(|name| name.as_str().starts_with("x-ms-"))
            .map(|name| (name.as_str(), self.value(name)))
            .collect();
        for (name, value) in own {
            text += &format!("{name}:{}\n", value.trim());
        }
        text += &format!("/{account}{}", self.path);
        let mut query = BTreeMap::<String, Vec<&str>>::new();
        for (name, value) in self.query {
            query.entry(name.to_lowercase()).or_default().push(value);
        }
        for (name, mut values) in query {
            values.sort_unstable();
            text += &format!("\n{name}:{}", values.join(","));
        }
        text
    }

    fn value(&self, name: &HeaderName) -> &str {
        let value = self.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// The value of the header that lets the request in.
    pub(crate) fn authorization(&self, account: &str, key: &SecretText) -> String {
        // That it is base64 was looked at when it was read.
        let key = STANDARD.decode(key.expose()).unwrap_or_default();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key may have any length");
        mac.update(self.text(account).as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        format!("SharedKey {account}:{signature}")
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(values: &[(&'static str, &str)]) -> HeaderMap {
        let values = values.iter().map(|(name, value)| {
            let value = HeaderValue::from_str(value).unwrap();
            (HeaderName::from_static(name), value)
        });
        values.collect()
    }

    // The texts are the examples in the reference of the service.
    #[test]
    fn the_text_is_that_of_the_reference() {
        let headers = headers(&[
            ("x-ms-version", "2015-02-21"),
            ("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT"),
            ("user-agent", "not signed"),
        ]);
        let signed = Signed {
            method: &Method::GET,
            path: "/mycontainer",
            query: &[
                ("restype", "container"),
                ("comp", "metadata"),
                ("timeout", "20"),
            ],
            headers: &headers,
        };
        assert_eq!(
            signed.text("myaccount"),
            "GET\n\n\n\n\n\n\n\n\n\n\n\n\
             x-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n\
             /myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
        );
    }

    #[test]
    fn lengths_types_and_ranges_are_covered() {
        let headers = headers(&[
            ("content-length", "11"),
            ("content-type", "text/plain"),
            ("range", "bytes=0-9"),
            ("x-ms-blob-type", "BlockBlob"),
        ]);
        let signed = Signed {
            method: &Method::PUT,
            path: "/a/b%20c",
            query: &[("Include", "b"), ("include", "a")],
            headers: &headers,
        };
        assert_eq!(
            signed.text("a"),
            "PUT\n\n\n11\n\ntext/plain\n\n\n\n\n\nbytes=0-9\nx-ms-blob-type:BlockBlob\n\
             /a/a/b%20c\ninclude:a,b"
        );
        let empty = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static("0"))]);
        let signed = Signed {
            headers: &empty,
            ..signed
        };
        assert!(signed.text("a").starts_with("PUT\n\n\n\n\n"));
    }

    #[test]
    fn the_signature_stays_as_it_is() {
        let headers = headers(&[("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT")]);
        let signed = Signed {
            method: &Method::GET,
            path: "/c",
            query: &[],
            headers: &headers,
        };
        let key = SecretText::new(STANDARD.encode("key"));
        let value = signed.authorization("shop", &key);
        assert_eq!(
            value,
            "SharedKey shop:YQ1DW9azsPvVqcKn9NnEswMYFRqObOiBJr6iVgICswU="
        );
    }

    proptest! {
        #[test]
        fn the_order_of_the_query_does_not_matter(mut pairs in proptest::collection::vec(("[a-z]{1,3}", ".*"), 0..5)) {
            let headers = HeaderMap::new();
            let text = |pairs: &[(String, String)]| {
                let query: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                Signed { method: &Method::GET, path: "/", query: &query, headers: &headers }.text("a")
            };
            let before = text(&pairs);
            pairs.reverse();
            prop_assert_eq!(text(&pairs), before);
        }
    }
}
