//! Feeds what comes from the web and from its services: paths, addresses, XML, dates, answers of
//! proxies, pauses that servers ask for.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lattice_backend_http::xml::Element;
use lattice_backend_http::{date, encode};
use libfuzzer_sys::fuzz_target;

#[path = "../../providers/http-client/src/address.rs"]
mod address;
#[path = "../../providers/http-client/src/retry/after.rs"]
mod after;
#[path = "../../providers/http-client/src/proxy/answer.rs"]
mod answer;
#[path = "../../providers/backend/etcd/src/endpoint.rs"]
mod endpoint;
#[path = "../../providers/http-server/src/place.rs"]
mod place;
#[allow(dead_code, reason = "answers are read, no requests written")]
#[path = "../../providers/backend/etcd/src/wire.rs"]
mod wire;

fuzz_target!(|data: &[u8]| {
    addresses(data);
    etcd(data);
    answers(data);
    if let Ok(text) = std::str::from_utf8(data) {
        templates(text);
        texts(text);
        elements(text);
    }
});

/// No address is one of the Internet and one of a metadata service.
fn addresses(data: &[u8]) {
    let v4 = data
        .first_chunk::<4>()
        .map(|b| IpAddr::from(Ipv4Addr::from(*b)));
    let v6 = data
        .first_chunk::<16>()
        .map(|b| IpAddr::from(Ipv6Addr::from(*b)));
    for address in [v4, v6].into_iter().flatten() {
        assert!(!(address::is_public(address) && address::is_metadata(address)));
    }
}

/// A proxy lets through by its status alone, and a server names seconds.
fn answers(data: &[u8]) {
    if answer::accepted(data).is_ok() {
        assert!(data.starts_with(b"HTTP/1."));
    }
    if let Ok(value) = http::HeaderValue::from_bytes(data) {
        let headers = http::HeaderMap::from_iter([(http::header::RETRY_AFTER, value)]);
        let pause = after::asked_pause(&headers);
        assert!(pause.is_none_or(|pause| pause.subsec_nanos() == 0));
    }
}

fn etcd(data: &[u8]) {
    #[derive(serde::Deserialize)]
    struct Pair {
        #[serde(default, with = "wire::base64_text")]
        #[allow(dead_code, reason = "it is only read")]
        key: bytes::Bytes,
    }
    let _ = wire::decode::<Pair>(data).is_ok();
    let _ = wire::decode::<wire::Header>(data).is_ok();
    let _ = wire::decode_streamed::<wire::Header>(data).is_ok();
}

/// A template of paths, then paths.
fn templates(text: &str) {
    let (template, paths) = text.split_once('\n').unwrap_or((text, text));
    let Ok(read) = place::Template::parse(template) else {
        return;
    };
    assert!(read.shape() == read.shape());
    for path in paths.split('\n') {
        let params = read.read(path);
        if read.is_exact() {
            assert_eq!(params.is_some(), path == template);
        }
        for (name, _) in params.into_iter().flatten() {
            assert!(place::is_param(&name));
        }
    }
}

fn texts(text: &str) {
    for plus in [false, true] {
        if let Some(read) = encode::unpercent(text, plus) {
            let written = encode::percent(&read, "");
            assert_eq!(encode::unpercent(&written, plus), Some(read));
        }
    }
    if let Some(at) = date::read(text) {
        let written = (date::http_date(at), date::compact(at));
        let seconds = date::seconds(text);
        if (1970..10_000).contains(&at.year()) {
            assert_eq!(date::seconds(&written.0), seconds);
        }
    }
    if let Ok(endpoint) = endpoint::Endpoint::parse(text) {
        let uri = endpoint
            .uri("/v3/kv/put")
            .expect("an endpoint has addresses");
        let again = endpoint::Endpoint::parse(endpoint.authority());
        assert_eq!(
            again.map(|e| e.authority().to_owned()).as_deref(),
            Ok(endpoint.authority())
        );
        assert_eq!(uri.path(), "/v3/kv/put");
    }
}

fn elements(text: &str) {
    let Ok(root) = Element::read(text) else {
        return;
    };
    let _ = (
        root.find("Error"),
        root.text_of("Code"),
        root.attribute("a"),
    );
    let _ = root.all("Contents").count();
}
