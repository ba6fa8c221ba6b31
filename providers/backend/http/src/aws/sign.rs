//! Signature version 4, in a header.

use hmac::{Hmac, Mac as _};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::request::Parts;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::AwsKeys;
use crate::date::compact;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// What a signature is good for.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The service, such as `s3`.
    pub service: &'a str,
    /// Its region, such as `us-east-1`.
    pub region: &'a str,
    /// From when; services take it for some minutes.
    pub at: OffsetDateTime,
}

/// The hash of a body, which the signature covers.
#[must_use]
pub fn hash(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

/// Adds the headers that a signature consists of. Every header that is there is covered; the path
/// and the query have to be written as [`encode`](crate::encode) does, and the path is taken as it
/// is, which all services do that have more than `/`.
pub fn sign(request: &mut Parts, keys: &AwsKeys, scope: Scope<'_>, body_hash: &str) {
    let at = compact(scope.at);
    if let Some(host) = request.uri.authority().map(|host| host.as_str().to_owned()) {
        put(request, HOST, &host, false);
    }
    put(request, DATE, &at, false);
    if let Some(token) = &keys.token {
        put(request, TOKEN, token.expose(), true);
    }
    let (names, canonical) = canonical(request, body_hash);
    let scope_text = format!(
        "{}/{}/{}/aws4_request",
        &at[..8],
        scope.region,
        scope.service
    );
    let to_sign = format!(
        "{ALGORITHM}\n{at}\n{scope_text}\n{}",
        hash(canonical.as_bytes())
    );
    let key = format!("AWS4{}", keys.secret.expose());
    let key = [&at[..8], scope.region, scope.service, "aws4_request"]
        .iter()
        .fold(key.into_bytes(), |key, part| mac(&key, part));
    let signature = hex::encode(mac(&key, &to_sign));
    let id = &keys.id;
    let value = format!(
        "{ALGORITHM} Credential={id}/{scope_text}, SignedHeaders={names}, Signature={signature}"
    );
    put(request, AUTHORIZATION, &value, true);
}

/// Values that no header can have are left out; the service then refuses the request.
fn put(request: &mut Parts, name: HeaderName, value: &str, hidden: bool) {
    if let Ok(mut value) = HeaderValue::from_str(value) {
        value.set_sensitive(hidden);
        request.headers.insert(name, value);
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key may have any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The names of the covered headers, and the text that is hashed.
fn canonical(request: &Parts, body_hash: &str) -> (String, String) {
    let skipped = [AUTHORIZATION, USER_AGENT, CONTENT_LENGTH];
    let mut names: Vec<_> = request
        .headers
        .keys()
        .filter(|name| !skipped.contains(name))
        .map(HeaderName::as_str)
        .collect();
    names.sort_unstable();
    let mut headers = String::new();
    for name in &names {
        let values = request.headers.get_all(*name).iter();
        let values: Vec<_> = values.map(|value| trimmed(value.as_bytes())).collect();
        headers += &format!("{name}:{}\n", values.join(","));
    }
    let names = names.join(";");
    let mut pairs: Vec<_> = request
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<_> = pairs.iter().map(|(n, v)| format!("{n}={v}")).collect();
    let text = format!(
        "{}\n{}\n{}\n{headers}\n{names}\n{body_hash}",
        request.method,
        request.uri.path(),
        pairs.join("&"),
    );
    (names, text)
}

/// Without spaces at the ends, and one where there were several.
fn trimmed(value: &[u8]) -> String {
    let value = String::from_utf8_lossy(value);
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    // The keys, requests and signatures of the examples in the reference of S3, and of the suite
    // of tests that AWS publishes.
    const ID: &str = "AKIAIOSFODNN7EXAMPLE";
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn s3_signature(request: http::request::Builder, body_hash: &str) -> String {
        let request = request.header("x-amz-content-sha256", body_hash);
        let mut parts = request.body(()).unwrap().into_parts().0;
        let scope = Scope {
            service: "s3",
            region: "us-east-1",
            at: OffsetDateTime::from_unix_timestamp(1_369_353_600).unwrap(),
        };
        sign(&mut parts, &AwsKeys::new(ID, SECRET), scope, body_hash);
        let value = parts.headers[AUTHORIZATION].to_str().unwrap();
        value.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    #[test]
    fn the_examples_of_the_reference_are_signed_alike() {
        let host = "https://examplebucket.s3.amazonaws.com";
        let get = Request::get(format!("{host}/test.txt")).header("range", "bytes=0-9");
        assert_eq!(
            s3_signature(get, EMPTY),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        let put = Request::put(format!("{host}/test%24file.text"))
            .header("date", "Fri, 24 May 2013 00:00:00 GMT")
            .header("x-amz-storage-class", "REDUCED_REDUNDANCY");
        assert_eq!(
            s3_signature(put, &hash(b"Welcome to Amazon S3.")),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
        let life_cycle = Request::get(format!("{host}/?lifecycle"));
        assert_eq!(
            s3_signature(life_cycle, EMPTY),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        let list = Request::get(format!("{host}/?prefix=J&max-keys=2"));
        assert_eq!(
            s3_signature(list, EMPTY),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    #[test]
    fn a_token_is_sent_and_covered_and_nothing_shows() {
        let mut keys = AwsKeys::new("id", "hidden");
        keys.token = Some("also-hidden".to_owned().into());
        let request = Request::get("https://sqs.us-east-1.amazonaws.com:8443/");
        let mut parts = request.body(()).unwrap().into_parts().0;
        let scope = Scope {
            service: "sqs",
            region: "us-east-1",
            at: OffsetDateTime::UNIX_EPOCH,
        };
        sign(&mut parts, &keys, scope, EMPTY);
        let value = parts.headers[AUTHORIZATION].to_str().unwrap();
        let covered = "SignedHeaders=host;x-amz-date;x-amz-security-token,";
        assert!(value.contains(covered), "{value}");
        assert_eq!(parts.headers[HOST], "sqs.us-east-1.amazonaws.com:8443");
        let shown = format!("{keys:?} {parts:?}");
        assert!(
            !shown.contains("hidden\"") && !shown.contains("also"),
            "{shown}"
        );
    }
}
