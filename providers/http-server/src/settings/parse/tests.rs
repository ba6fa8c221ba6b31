//! Links as people write them.

use lattice_core::{ComponentId, LinkName, StringMap, WitName};
use lattice_provider_sdk::LinkRole;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::*;

fn link(values: &[(&str, &str)]) -> ProviderLink {
    ProviderLink {
        role: LinkRole::Source,
        peer: ComponentId::new("hello").unwrap(),
        name: LinkName::default(),
        namespace: WitName::new("wasi").unwrap(),
        package: WitName::new("http").unwrap(),
        interfaces: vec!["incoming-handler".into()],
        config: map(values),
        secrets: Default::default(),
        peer_config: Default::default(),
        locality: Default::default(),
        rules: Default::default(),
        ruled: false,
    }
}

fn map(values: &[(&str, &str)]) -> StringMap {
    let pair = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
    values.iter().map(pair).collect()
}

fn provider(values: &[(&str, &str)]) -> ProviderSettings {
    ProviderSettings::read(&map(values)).unwrap()
}

fn read(values: &[(&str, &str)]) -> LinkSettings {
    LinkSettings::of(&link(values), &provider(&[])).unwrap()
}

fn refused(values: &[(&str, &str)]) -> InvalidSetting {
    LinkSettings::of(&link(values), &provider(&[])).unwrap_err()
}

#[test]
fn an_empty_link_has_the_documented_defaults() {
    let settings = read(&[]);
    assert_eq!(settings.address, "0.0.0.0:8000".parse().unwrap());
    assert_eq!(settings.place, Place::default());
    assert_eq!(settings.connection, ConnectionLimits::default());
    assert_eq!(settings.common.body.bytes, u64::MAX);
    assert!(!settings.common.websocket && settings.common.methods.is_none());
    assert_eq!(settings.common.timeout, None);
    assert!(settings.common.keep_alive && !settings.common.read_only);
    assert!(settings.tls.is_none() && settings.common.cache_control.is_none());
}

#[test]
fn keys_are_matched_in_any_case() {
    let settings = read(&[
        ("ADDRESS", "127.0.0.1:8080"),
        ("Timeout_Ms", "1500"),
        ("readonly_MODE", "True"),
        ("disable_keepalive", "true"),
        ("cache_control", "no-store"),
    ]);
    assert_eq!(settings.address, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(settings.common.timeout, Some(Duration::from_millis(1500)));
    assert!(settings.common.read_only && !settings.common.keep_alive);
    assert_eq!(settings.common.cache_control.unwrap(), "no-store");
}

#[test]
fn a_port_means_the_local_address_unless_there_is_an_address() {
    let local = "127.0.0.1:8088".parse().unwrap();
    assert_eq!(read(&[("port", "8088")]).address, local);
    let both = read(&[("port", "8088"), ("address", "0.0.0.0:80")]);
    assert_eq!(both.address, "0.0.0.0:80".parse().unwrap());
}

#[test]
fn beside_a_json_object_only_what_1_9_does_not_know_of_it_stands_alone() {
    let json = r#"{"address":"127.0.0.1:1","timeout_ms":9,"tls":{"cert_file":"c","priv_key_file":"k"},
        "cors":{"allowed_methods":["PATCH"],"max_age_secs":7},"readonly_mode":true,"cache_control":null}"#;
    let b64 = STANDARD_NO_PAD.encode(json);
    for (name, text) in [("config_json", json), ("CONFIG_B64", b64.as_str())] {
        let settings = read(&[
            (name, text),
            ("timeout_ms", "10"),
            ("port", "3"),
            ("path", "/a"),
            ("websocket", "true"),
        ]);
        assert_eq!(settings.place.path, Some(PathPlace::Exact("/a".into())));
        assert!(settings.common.websocket);
        assert_eq!(settings.address, "127.0.0.1:1".parse().unwrap());
        assert_eq!(settings.common.timeout, Some(Duration::from_millis(9)));
        assert_eq!(settings.tls.unwrap().key_file.to_str(), Some("k"));
        assert_eq!(settings.common.cors.allowed_methods, "PATCH");
        assert_eq!(settings.common.cors.max_age, "7");
        assert!(settings.common.read_only && settings.common.cache_control.is_none());
    }
    let other = r#"{"timeout_ms":8}"#;
    let settings = read(&[("config_json", other), ("config_b64", &b64)]);
    assert_eq!(settings.common.timeout, Some(Duration::from_millis(9)));
}

#[test]
fn lists_are_json_or_plain() {
    for text in [r#"["x-a","x-b"]"#, "x-a, x-b"] {
        let settings = read(&[
            ("cors_allowed_headers", text),
            ("cors_exposed_headers", text),
        ]);
        assert_eq!(settings.common.cors.allowed_headers, "x-a,x-b");
        assert_eq!(settings.common.cors.exposed_headers, "x-a,x-b");
    }
}

#[test]
fn an_empty_list_and_what_an_object_leaves_out_mean_any() {
    let usual = Cors::default();
    let cors = read(&[]).common.cors;
    assert_eq!(cors.allowed_methods, usual.allowed_methods);
    assert_eq!(cors.exposed_headers, "*");
    let empty = [
        ("cors_allowed_methods", "[]"),
        ("cors_allowed_headers", "[]"),
        ("cors_exposed_headers", "[]"),
        ("methods", "[]"),
    ];
    let object = [("config_json", r#"{"cors":{"allowed_origins":[]}}"#)];
    for values in [&empty[..], &object] {
        let common = read(values).common;
        assert_eq!(common.cors.allowed_methods, "*");
        assert_eq!(common.cors.allowed_headers, "*");
        assert_eq!(common.cors.exposed_headers, "*");
        assert_eq!(common.methods, None);
    }
    let json = r#"{"cors":{"allowed_headers":["x-a"]},"cors_exposed_headers":["x-b"]}"#;
    let cors = read(&[("config_json", json)]).common.cors;
    assert_eq!(cors.allowed_headers, "x-a");
    assert_eq!(cors.exposed_headers, "x-b");
    assert_eq!(cors.allowed_methods, "*");
}

#[test]
fn bad_values_are_refused_by_name() {
    for (name, value) in [
        ("address", "localhost"),
        ("port", "70000"),
        ("timeout_ms", "soon"),
        ("timeout_ms", "0"),
        ("readonly_mode", "perhaps"),
        ("cache_control", "a\nb"),
        ("methods", "G(T"),
        ("path", "users"),
        ("path", "/{id"),
        ("path", "/{a.b}"),
        ("max_body_bytes", "-1"),
        ("body_timeout_ms", "0"),
        ("max_header_bytes", "100"),
        ("header_timeout_ms", "0"),
        ("websocket", "perhaps"),
        ("cors_allowed_methods", r#"["G T"]"#),
        ("cors_allowed_headers", "[1]"),
        ("cors_allowed_origins", r#"["a\nb"]"#),
        ("cors_max_age_secs", "-1"),
        ("tls_cert_file", "only.pem"),
        ("tls_priv_key_file", "only.key"),
        ("config_json", "[]"),
        ("config_b64", "*"),
    ] {
        let error = refused(&[(name, value)]);
        assert_eq!(error.name, name, "{error}");
    }
}

#[test]
fn path_and_host_mode_need_their_value() {
    let by_path = provider(&[
        ("routing_mode", "path"),
        ("default_address", "127.0.0.1:99"),
    ]);
    let error = LinkSettings::of(&link(&[]), &by_path).unwrap_err();
    assert_eq!(error.name, "path");
    let settings = LinkSettings::of(&link(&[("path", "/a")]), &by_path).unwrap();
    assert_eq!(settings.place.path, Some(PathPlace::Exact("/a".into())));
    assert_eq!(settings.address, "127.0.0.1:99".parse().unwrap());
    let by_host = provider(&[("routing_mode", "HOST"), ("header", "X-Host")]);
    assert_eq!(by_host.mode, Mode::Host("x-host".parse().unwrap()));
    let settings = LinkSettings::of(&link(&[("host", "A.example")]), &by_host).unwrap();
    assert_eq!(settings.place.host.as_deref(), Some("a.example"));
    let both = [("host", "a"), ("path", "/users/{id}")];
    let settings = LinkSettings::of(&link(&both), &by_host).unwrap();
    let template = Template::parse("/users/{id}").unwrap();
    assert_eq!(settings.place.path, Some(PathPlace::Like(template)));
}

#[test]
fn files_for_tls_stand_with_whoever_owns_the_address() {
    let tls = [
        ("tls_cert_file", "c"),
        ("tls_priv_key_file", "k"),
        ("path", "/"),
    ];
    assert!(read(&tls).tls.is_some());
    let by_path = provider(&[("routing_mode", "path")]);
    let error = LinkSettings::of(&link(&tls), &by_path).unwrap_err();
    assert_eq!(error.name, "tls_cert_file");
    let limits = [("path", "/"), ("idle_timeout_ms", "5")];
    assert_eq!(
        read(&limits).connection.idle_timeout,
        Duration::from_millis(5)
    );
    let error = LinkSettings::of(&link(&limits), &by_path).unwrap_err();
    assert_eq!(error.name, "idle_timeout_ms");
}

#[test]
fn a_bad_provider_config_is_refused_by_name() {
    for (name, bad) in [
        ("routing_mode", "port"),
        ("default_address", "8000"),
        ("tls_cert_file", "alone"),
    ] {
        let error = ProviderSettings::read(&map(&[(name, bad)]));
        assert_eq!(error.unwrap_err().name, name);
    }
    for (name, bad) in [
        ("address", "8000"),
        ("port", "x"),
        ("timeout_ms", "0"),
        ("cors_max_age_secs", "soon"),
        ("config_json", "[]"),
    ] {
        let error = ProviderSettings::read(&map(&[("routing_mode", "path"), (name, bad)]));
        assert_eq!(error.unwrap_err().name, name);
        // In address mode these were never looked at.
        assert!(ProviderSettings::read(&map(&[(name, bad)])).is_ok());
    }
}

#[test]
fn in_path_and_host_mode_the_provider_says_what_links_leave_open() {
    let json = r#"{"address":"127.0.0.1:90","readonly_mode":true,"max_header_bytes":9000,
        "timeout_ms":7,"cache_control":"max-age=1",
        "cors":{"allowed_methods":["PATCH"]},"tls":{"cert_file":"c","priv_key_file":"k"}}"#;
    let b64 = STANDARD_NO_PAD.encode(json);
    let own = [("host", "a"), ("path", "/a"), ("cache_control", "no-store")];
    for (mode, name, text) in [("path", "config_json", json), ("host", "CONFIG_B64", &b64)] {
        let config = [
            ("routing_mode", mode),
            ("default_address", "127.0.0.1:91"),
            ("Timeout_MS", "6"),
            (name, text),
        ];
        let settings = LinkSettings::of(&link(&own), &provider(&config)).unwrap();
        assert_eq!(settings.address, "127.0.0.1:90".parse().unwrap());
        assert_eq!(settings.connection.header_bytes, 9000);
        assert_eq!(settings.tls.unwrap().key_file.to_str(), Some("k"));
        let common = settings.common;
        assert_eq!(common.timeout, Some(Duration::from_millis(7)));
        assert_eq!(common.cache_control.unwrap(), "no-store");
        assert_eq!(common.cors.allowed_methods, "PATCH");
        assert!(common.read_only);
        let other = [("host", "b"), ("path", "/b"), ("readonly_mode", "false")];
        let settings = LinkSettings::of(&link(&other), &provider(&config)).unwrap();
        assert!(!settings.common.read_only);
        assert_eq!(settings.common.cache_control.unwrap(), "max-age=1");
    }
}

#[test]
fn an_address_of_the_provider_goes_before_a_port_and_a_port_before_the_default() {
    let all = [
        ("default_address", "127.0.0.1:91"),
        ("port", "92"),
        ("address", "127.0.0.2:93"),
    ];
    for (said, by_path, by_address) in [
        (0, "0.0.0.0:8000", "0.0.0.0:8000"),
        (1, "127.0.0.1:91", "127.0.0.1:91"),
        (2, "127.0.0.1:92", "127.0.0.1:91"),
        (3, "127.0.0.2:93", "127.0.0.1:91"),
    ] {
        let mut config = all[..said].to_vec();
        let address = provider(&config).default_address;
        assert_eq!(address, by_address.parse().unwrap());
        config.push(("routing_mode", "path"));
        let address = provider(&config).default_address;
        assert_eq!(address, by_path.parse().unwrap());
    }
}

#[test]
fn in_address_mode_links_say_all_themselves() {
    let quiet = [("readonly_mode", "true"), ("timeout_ms", "7")];
    let settings = LinkSettings::of(&link(&[]), &provider(&quiet)).unwrap();
    assert!(!settings.common.read_only && settings.common.timeout.is_none());
}
