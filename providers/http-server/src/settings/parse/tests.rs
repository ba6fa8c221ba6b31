//! Links as people write them.

use lattice_core::{ComponentId, LinkName, WitName};
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
        config: values
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        secrets: Default::default(),
        peer_config: Default::default(),
        locality: Default::default(),
        rules: Default::default(),
    }
}

fn provider(values: &'static [(&'static str, &'static str)]) -> ProviderSettings {
    ProviderSettings::read(|name| {
        let found = values.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    })
    .unwrap()
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
    assert_eq!(settings.body.bytes, u64::MAX);
    assert!(!settings.websocket && settings.methods.is_none());
    assert_eq!(settings.timeout, None);
    assert!(settings.keep_alive && !settings.read_only);
    assert!(settings.tls.is_none() && settings.cache_control.is_none());
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
    assert_eq!(settings.timeout, Some(Duration::from_millis(1500)));
    assert!(settings.read_only && !settings.keep_alive);
    assert_eq!(settings.cache_control.unwrap(), "no-store");
}

#[test]
fn a_port_means_the_local_address_unless_there_is_an_address() {
    let local = "127.0.0.1:8088".parse().unwrap();
    assert_eq!(read(&[("port", "8088")]).address, local);
    let both = read(&[("port", "8088"), ("address", "0.0.0.0:80")]);
    assert_eq!(both.address, "0.0.0.0:80".parse().unwrap());
}

#[test]
fn a_json_object_holds_all_settings_and_single_values_go_before_it() {
    let json = r#"{"address":"127.0.0.1:1","timeout_ms":9,"tls":{"cert_file":"c","priv_key_file":"k"},
        "cors":{"allowed_methods":["PATCH"],"max_age_secs":7},"readonly_mode":true,"cache_control":null}"#;
    let b64 = STANDARD_NO_PAD.encode(json);
    for (name, text) in [("config_json", json), ("CONFIG_B64", b64.as_str())] {
        let settings = read(&[(name, text), ("timeout_ms", "10")]);
        assert_eq!(settings.address, "127.0.0.1:1".parse().unwrap());
        assert_eq!(settings.timeout, Some(Duration::from_millis(10)));
        assert_eq!(settings.tls.unwrap().key_file.to_str(), Some("k"));
        assert_eq!(settings.cors.allowed_methods, "PATCH");
        assert_eq!(settings.cors.max_age, "7");
        assert!(settings.read_only && settings.cache_control.is_none());
    }
}

#[test]
fn lists_are_json_or_plain() {
    for text in [r#"["x-a","x-b"]"#, "x-a, x-b"] {
        let settings = read(&[
            ("cors_allowed_headers", text),
            ("cors_exposed_headers", text),
        ]);
        assert_eq!(settings.cors.allowed_headers, "x-a,x-b");
        assert_eq!(settings.cors.exposed_headers.unwrap(), "x-a,x-b");
    }
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
        let error = ProviderSettings::read(|asked| (asked == name).then(|| bad.to_owned()));
        assert_eq!(error.unwrap_err().name, name);
    }
}
