//! Tests of grants: what they let through, and what they say of it.

use proptest::prelude::*;

use super::*;

fn judge(list: &str, method: &str, uri: &str) -> Verdict {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    Grants::parse(list)
        .unwrap()
        .judge(&method, &uri.parse().unwrap())
}

fn get(list: &str, uri: &str) -> Verdict {
    judge(list, "GET", uri)
}

#[test]
fn hosts_are_named_or_covered() {
    assert_eq!(get("*", "http://a.example/"), Verdict::Public);
    assert_eq!(get("a.example", "http://A.Example.:81/"), Verdict::Public);
    assert_eq!(get("*.example", "https://a.b.example/"), Verdict::Public);
    assert_eq!(get("*.example", "http://example/"), Verdict::Denied);
    assert_eq!(get("*.example", "http://badexample/"), Verdict::Denied);
    assert_eq!(get("a.example", "http://b.example/"), Verdict::Denied);
    assert_eq!(get("*, a.example", "http://a.example/"), Verdict::Public);
    assert_eq!(get("none", "http://a.example/"), Verdict::Denied);
}

#[test]
fn a_name_alone_opens_public_addresses_and_an_address_itself() {
    for (list, uri, expected) in [
        ("api.example", "http://api.example/", Verdict::Public),
        (
            "api.example, 10.0.0.1",
            "http://api.example/",
            Verdict::Public,
        ),
        ("10.0.0.1", "http://10.0.0.1/", Verdict::Named),
        ("[::1]:80", "http://[::1]/", Verdict::Named),
        // What resolvers take for an address is a name all the same.
        ("127.1", "http://127.1/", Verdict::Public),
        ("10.0.0.1", "http://10.0.0.1./", Verdict::Public),
        ("localhost", "http://LocalHost.:81/", Verdict::Loopback),
        ("a.localhost", "http://a.localhost/", Verdict::Loopback),
        ("*.localhost", "http://a.localhost/", Verdict::Loopback),
        ("*, localhost", "http://localhost/", Verdict::Loopback),
        ("*", "http://localhost/", Verdict::Public),
        ("notlocalhost", "http://notlocalhost/", Verdict::Public),
    ] {
        assert_eq!(get(list, uri), expected, "{list} {uri}");
    }
}

#[test]
fn a_port_is_any_one_unless_a_scheme_or_number_is_given() {
    assert_eq!(get("a:8080", "http://a:8080/"), Verdict::Public);
    assert_eq!(get("a:8080", "http://a/"), Verdict::Denied);
    assert_eq!(get("a:443", "https://a/"), Verdict::Public);
    assert_eq!(get("https://a", "https://a/x"), Verdict::Public);
    assert_eq!(get("https://a", "https://a:444/"), Verdict::Denied);
    assert_eq!(get("https://a", "http://a:443/"), Verdict::Denied);
    assert_eq!(get("https://*.a:444", "https://b.a:444/"), Verdict::Public);
}

#[test]
fn methods_and_paths_narrow() {
    assert_eq!(judge("get a", "GET", "http://a/"), Verdict::Public);
    assert_eq!(judge("GET a", "POST", "http://a/"), Verdict::Denied);
    assert_eq!(
        judge("POST https://*", "POST", "https://a/"),
        Verdict::Public
    );
    let list = "GET http://a/api";
    assert_eq!(get(list, "http://a/api?x=1"), Verdict::Public);
    assert_eq!(get(list, "http://a/api/b"), Verdict::Public);
    for path in [
        "/apix",
        "/",
        "/api/../b",
        "/api/%2e%2E/b",
        "/api/..%2fb",
        "/api/..\\b",
        "/api/..;/b",
        "/api/%252e%252e/b",
    ] {
        let Ok(uri) = format!("http://a{path}").parse::<Uri>() else {
            continue;
        };
        assert_eq!(get(list, &uri.to_string()), Verdict::Denied, "{path}");
    }
    assert_eq!(get("http://a/", "http://a/b"), Verdict::Public);
}

#[test]
fn what_is_no_rule_is_named() {
    for item in [
        "a/b", "ftp://a", "a:b", "a:", "*a", "*.", "a.*", "x y z", "u@a", "http://", "G(T a",
    ] {
        let error = Grants::parse(&format!("ok, {item}")).unwrap_err();
        assert_eq!(error.item, item);
    }
    let login = Grants::parse("https://me:pw@a").unwrap_err();
    assert!(login.to_string().starts_with("`<hidden>` is no grant"));
}

#[test]
fn networks_name_the_addresses_in_them() {
    let list = "*.internal, 10.0.0.0/8, fd00::/8, [fe80::]/10, 0.0.0.0/0";
    let grants = Grants::parse(list).unwrap();
    assert_eq!(grants.networks.len(), 4);
    let grants = Grants::parse("*.internal, 10.0.0.0/8, [fd00::]/8").unwrap();
    for (address, named) in [
        ("10.255.0.1", true),
        ("11.0.0.1", false),
        ("::ffff:10.0.0.1", true),
        ("fd12::1", true),
        ("fe80::1", false),
    ] {
        assert_eq!(grants.names(address.parse().unwrap()), named, "{address}");
    }
    assert_eq!(
        grants.judge(&Method::GET, &"http://a.internal/".parse().unwrap()),
        Verdict::Public
    );
    let alone = Grants::parse("10.0.0.0/8, [fd00::]/8").unwrap();
    let judge = |uri: &str| alone.judge(&Method::DELETE, &uri.parse().unwrap());
    assert_eq!(judge("http://10.1.2.3:81/x"), Verdict::Named);
    assert_eq!(judge("http://[::ffff:10.1.2.3]/"), Verdict::Named);
    assert_eq!(judge("http://11.1.2.3/"), Verdict::Denied);
    for item in [
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0.0/+8",
        "GET 10.0.0.0/8",
        "x/8",
    ] {
        assert!(Grants::parse(item).is_err(), "{item}");
    }
}

#[test]
fn a_network_beside_grants_opens_no_address_that_they_do_not_cover() {
    let list = "GET https://db.internal/v1, 10.0.0.0/8, POST http://10.9.9.9:81/v1";
    for (method, uri) in [
        ("GET", "https://10.1.2.3/v1"),
        ("DELETE", "http://10.1.2.3/"),
        ("GET", "http://10.9.9.9:81/v1"),
        ("POST", "http://10.9.9.9:82/v1"),
        ("POST", "https://10.9.9.9:81/v1"),
        ("POST", "http://10.9.9.9:81/v2"),
        ("POST", "https://db.internal/v1"),
        ("GET", "https://db.internal/v2"),
    ] {
        assert_eq!(judge(list, method, uri), Verdict::Denied, "{method} {uri}");
    }
    let named = judge(list, "POST", "http://10.9.9.9:81/v1/x");
    assert_eq!(named, Verdict::Named);
    assert_eq!(
        judge(list, "GET", "https://db.internal/v1"),
        Verdict::Public
    );
    // What any host is granted, addresses are, too; the network says whether they may be private.
    let any = judge("GET *, 10.0.0.0/8", "GET", "http://10.1.2.3/");
    assert_eq!(any, Verdict::Public);
}

#[test]
fn the_grant_that_is_wanted_shows_neither_path_nor_login() {
    let uri = "https://me:pw@a.example:8443/hooks/secret?x=1"
        .parse()
        .unwrap();
    assert_eq!(wanted(&Method::POST, &uri), "POST https://a.example:8443");
    let beside = wanted_beside(&Method::POST, &uri);
    assert!(
        beside.contains("such as `10.0.0.0/8`, beside that of its name"),
        "{beside}"
    );
    assert!(
        !beside.contains("secret") && !beside.contains("pw"),
        "{beside}"
    );
}

proptest! {
    #[test]
    fn a_list_of_hosts_lets_no_other_host_through(
        hosts in proptest::collection::vec("[a-c]{1,2}(\\.[a-c]{1,2})?", 1..4),
        asked in "[a-c]{1,2}(\\.[a-c]{1,2})?",
    ) {
        let expected = if hosts.contains(&asked) { Verdict::Public } else { Verdict::Denied };
        prop_assert_eq!(get(&hosts.join(","), &format!("http://{asked}/")), expected);
    }

    #[test]
    fn a_wanted_grant_lets_its_request_through(
        method in "GET|POST|DELETE",
        host in "[a-z]{1,8}(\\.[a-z]{1,5})?|10\\.0\\.0\\.[0-9]|\\[fd00::[1-9]\\]",
        port in prop::option::of(1_u16..),
    ) {
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let uri = format!("https://{host}{port}/x").parse().unwrap();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let grants = Grants::parse(&wanted(&method, &uri)).unwrap();
        let is_address = uri.host().and_then(literal).is_some();
        let expected = if is_address { Verdict::Named } else { Verdict::Public };
        prop_assert_eq!(grants.judge(&method, &uri), expected);
    }

    #[test]
    fn nothing_panics(list in "\\PC{0,40}") {
        let _ = Grants::parse(&list);
    }
}
