//! Tests of settings out of flags and environment.

use clap::Parser;
use lattice_nats::connection::SystemAuthorities;

use super::*;

#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    host: HostArgs,
}

fn parse(flags: &[&str]) -> HostArgs {
    let line = std::iter::once("host").chain(flags.iter().copied());
    Program::try_parse_from(line).unwrap().host
}

fn build(flags: &[&str]) -> Result<(HostConfig, Vec<String>), SettingsError> {
    settings(&parse(flags), std::iter::empty())
}

#[test]
fn the_defaults_are_those_of_the_protocol_page() {
    let (config, warnings) = build(&[]).unwrap();
    assert!(warnings.is_empty());
    assert_eq!(config.lattice.as_str(), "default");
    assert_eq!(config.ctl.url(), "nats://127.0.0.1:4222");
    assert_eq!(config.rpc_timeout, Duration::from_secs(2));
    assert_eq!(config.heartbeat_interval, Duration::from_secs(30));
    assert_eq!(config.max_execution_time, Duration::from_secs(600));
    assert_eq!(config.providers.shutdown_delay, Duration::from_millis(300));
    assert_eq!(config.runtime.max_memory_bytes, 268_435_456);
    assert_eq!(config.runtime.max_component_bytes, 52_428_800);
    assert_eq!(config.runtime.max_instances, 10_000);
    assert!(config.component_auctions && config.provider_auctions && !config.allow_file_load);
}

#[test]
fn each_connection_falls_back_to_the_common_flags() {
    let flags = [
        "--nats-host",
        "a",
        "--nats-port",
        "1",
        "--rpc-host",
        "b",
        "--ctl-port",
        "2",
    ];
    let (config, _) = build(&flags).unwrap();
    assert_eq!(config.ctl.url(), "nats://a:2");
    assert_eq!(config.rpc.url(), "nats://b:1");
}

#[test]
fn switches_take_values_and_do_without() {
    let (config, _) = build(&["--allow-file-load", "--enable-component-auction=false"]).unwrap();
    assert!(config.allow_file_load && !config.component_auctions && config.provider_auctions);
}

#[test]
fn the_value_of_a_switch_may_be_a_word_of_its_own_as_in_1_9() {
    let unit_file = "--enable-provider-auction false --allow-file-load true --enable-traces true \
        --enable-metrics false --enable-logs --enable-component-auction -x shop";
    let flags: Vec<_> = unit_file.split_whitespace().collect();
    let (config, _) = build(&flags).unwrap();
    assert!(config.allow_file_load && config.component_auctions && !config.provider_auctions);
    let otel = &config.otel;
    let signals = [otel.enable_traces, otel.enable_metrics, otel.enable_logs];
    assert_eq!(signals, [Some(true), Some(false), Some(true)]);
    assert_eq!(config.lattice.as_str(), "shop");
    assert!(Program::try_parse_from(["host", "--enable-traces", "perhaps"]).is_err());
}

#[test]
fn times_that_no_clock_reaches_are_refused() {
    for flag in ["--heartbeat-interval-seconds", "--policy-cache-seconds"] {
        let parse = |seconds: u64| Program::try_parse_from(["host", flag, &seconds.to_string()]);
        assert!(parse(31_536_000).is_ok(), "{flag}");
        let error = parse(u64::MAX).unwrap_err().to_string();
        assert!(error.contains(flag), "{error}");
    }
}

#[test]
fn labels_of_flags_win_over_those_of_the_environment() {
    let environment = [
        ("WASMCLOUD_LABEL_zone", "a"),
        ("WASMCLOUD_LABEL_tier", "x"),
        ("PATH", "p"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let (config, _) = settings(&parse(&["-l", "zone=b=c"]), environment.into_iter()).unwrap();
    assert_eq!(config.labels["zone"], "b=c");
    assert_eq!(config.labels["tier"], "x");
    assert_eq!(config.labels.len(), 2);
    let bad = build(&["-l", "zone"]);
    assert!(matches!(bad, Err(SettingsError::Label { .. })));
    for bad in ["=a", "a\tb=c"] {
        let error = build(&["-l", bad]).unwrap_err();
        assert!(matches!(error, SettingsError::LabelKey(_)), "{error}");
        assert!(error.hint().contains("zone"));
    }
    let unnamed = [("WASMCLOUD_LABEL_".to_owned(), "x".to_owned())];
    assert!(matches!(
        settings(&parse(&[]), unnamed.into_iter()),
        Err(SettingsError::LabelKey(_))
    ));
}

#[test]
fn a_host_seed_has_to_be_one() {
    let key = SigningKey::generate(KeyKind::Host);
    let (config, _) = build(&["--host-seed", key.seed().expose()]).unwrap();
    assert_eq!(config.key.public_key(), key.public_key());
    let account = SigningKey::generate(KeyKind::Account);
    for seed in [account.seed().expose(), "SN"] {
        assert!(matches!(
            build(&["--host-seed", seed]),
            Err(SettingsError::HostSeed(_))
        ));
    }
}

#[test]
fn nobody_is_trusted_with_code_unless_named() {
    let (config, _) = build(&[]).unwrap();
    assert!(config.cluster.key.is_none() && config.cluster.trusted().is_empty());
    let (config, _) = build(&["--cluster-seed", "", "--cluster-issuers", ""]).unwrap();
    assert!(config.cluster.trusted().is_empty());
}

#[test]
fn cluster_keys_have_to_be_ones() {
    let [own, other] = [(); 2].map(|()| SigningKey::generate(KeyKind::Cluster));
    let issuers = format!("{}, {}", other.public_key(), own.public_key());
    let seed = own.seed();
    let flags = [
        "--cluster-seed",
        seed.expose(),
        "--cluster-issuers",
        &issuers,
    ];
    let (config, _) = build(&flags).unwrap();
    let trusted = config.cluster.trusted();
    let trusted: Vec<_> = trusted.iter().map(PublicKey::as_text).collect();
    assert_eq!(trusted, [own.public_key(), other.public_key()]);

    let host = SigningKey::generate(KeyKind::Host);
    let error = build(&["--cluster-seed", host.seed().expose()]).unwrap_err();
    assert!(matches!(error, SettingsError::ClusterSeed(_)), "{error}");
    for key in [host.public_key(), own.public_key().to_lowercase()] {
        let error = build(&["--cluster-issuers", &key]).unwrap_err();
        assert!(
            matches!(error, SettingsError::ClusterIssuer { .. }),
            "{error}"
        );
    }
}

#[test]
fn the_key_of_a_secrets_backend_is_a_public_one_with_its_name() {
    let own = lattice_claims::CurveKey::generate();
    let flag = "--secrets-backend-key";
    let key = format!("nats-kv={}", own.public_key());
    let (config, _) = build(&[flag, &key]).unwrap();
    let (name, pinned) = &config.secrets.backend_keys[0];
    assert_eq!(name.as_str(), "nats-kv");
    assert_eq!(pinned.public_key(), own.public_key());
    for text in ["nats-kv", "nats-kv=XA", &key.replace("nats-kv", "a.b")] {
        let error = build(&[flag, text]).unwrap_err();
        assert!(matches!(error, SettingsError::BackendKey { .. }), "{error}");
    }
}

#[test]
fn a_host_that_keeps_no_code_shares_none() {
    let own = SigningKey::generate(KeyKind::Cluster);
    let seed = own.seed();
    let (config, _) = build(&["--cluster-seed", seed.expose()]).unwrap();
    assert!(config.share_code);
    let (config, _) = build(&["--no-code-cache", "--cluster-seed", seed.expose()]).unwrap();
    assert!(!config.share_code && config.cluster.key.is_some());
}

#[test]
fn a_strict_host_needs_a_cluster() {
    let own = SigningKey::generate(KeyKind::Cluster);
    let seed = own.seed();
    assert!(build(&[]).unwrap().0.allow_legacy_peers);
    let strict = "--allow-legacy-peers=false";
    let (config, _) = build(&[strict, "--cluster-seed", seed.expose()]).unwrap();
    assert!(!config.allow_legacy_peers);
    let public = own.public_key();
    for flags in [&[strict][..], &[strict, "--cluster-issuers", &public]] {
        let error = build(flags).unwrap_err();
        assert!(
            matches!(error, SettingsError::StrictWithoutCluster),
            "{error}"
        );
        assert!(error.hint().contains("cluster"));
    }
}

#[test]
fn what_would_be_unsafe_to_leave_out_is_refused() {
    for flags in [
        ["--feature", "workload-identity-auth"],
        ["--feature", "nonsense"],
    ] {
        let error = build(&flags).unwrap_err();
        assert!(
            matches!(error, SettingsError::Unsupported { .. }),
            "{flags:?}"
        );
    }
}

#[test]
fn flags_without_effect_are_named_once() {
    let flags = [
        "--allow-latest",
        "--oci-user",
        "u",
        "--feature",
        "rpc_interface",
    ];
    let (_, warnings) = build(&flags).unwrap();
    assert_eq!(warnings.len(), 2);
    assert!(warnings[1].contains("rpc_interface"));
}

#[test]
fn secrets_have_a_topic_and_are_asked_for_again() {
    let (config, warnings) = build(&["--secrets-topic", "my.secrets"]).unwrap();
    assert_eq!(config.secrets.topic.unwrap().as_str(), "my.secrets");
    assert_eq!(config.secrets.refresh, Duration::from_secs(30));
    assert!(warnings.is_empty());
    assert!(build(&[]).unwrap().0.secrets.topic.is_none());
    assert!(build(&["--secrets-topic", "a.*"]).is_err());
}

#[test]
fn signals_that_are_not_exported_are_named() {
    let warnings = |flags: &[&str]| build(flags).unwrap().1;
    assert!(warnings(&["--enable-traces"]).is_empty());
    let all = warnings(&["--enable-observability"]);
    assert!(all[0].contains("exports no metrics") && all[1].contains("exports no logs"));
    let one = warnings(&[
        "--enable-metrics",
        "--enable-logs=false",
        "--enable-observability",
    ]);
    assert_eq!(one.len(), 1);
    assert!(
        one[0].contains("`--enable-metrics` has no effect"),
        "{one:?}"
    );
}

#[test]
fn address_for_traces_has_to_be_one() {
    let flags = [
        "--enable-traces",
        "--override-traces-endpoint",
        "localhost:4318",
    ];
    let error = build(&flags).unwrap_err();
    assert!(error.to_string().contains("`localhost:4318`"), "{error}");
    assert!(error.hint().contains("http://localhost:4318/v1/traces"));
    assert!(build(&flags[1..]).is_ok(), "traces are off");
}

#[test]
fn what_a_connection_needs_is_looked_at_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("user.creds");
    let flags = ["--rpc-creds", path.to_str().unwrap()];
    let told = || build(&flags).unwrap_err().to_string();
    assert!(told().contains("user.creds"), "{}", told());
    std::fs::write(&path, "nothing").unwrap();
    assert!(told().contains("holds no NATS credentials"), "{}", told());
    let error = build(&["--ctl-jwt", "eyJ"]).unwrap_err();
    assert!(error.to_string().contains("no seed"), "{error}");
    let error = build(&["--nats-url", "nats://a:1,nats://[b"]).unwrap_err();
    assert!(error.to_string().contains("nats://[b"), "{error}");
}

#[test]
fn the_authorities_of_1_x_stand_beside_those_of_the_system_and_those_for_nats_alone() {
    let authority = lattice_nats_box::Authority::new().unwrap();
    let ca = authority.path("ca.pem");
    let path = ca.to_str().unwrap();
    let (config, _) = build(&["--tls-ca-path", path]).unwrap();
    let files = &config.ctl.tls.ca_files;
    assert_eq!((&files[0], files), (&ca, &config.rpc.tls.ca_files));
    let system = config.rpc.system.as_ref().map(|system| system.path());
    assert_eq!(files.get(1).map(PathBuf::as_path), system);
    assert_eq!(config.otel.additional_ca_paths, [path]);
    assert!(system.is_some() || SystemAuthorities::load().unwrap().is_none());
    let both = ["--tls-ca-path", path, "--nats-tls-ca-file", path];
    let (config, _) = build(&both).unwrap();
    assert_eq!(config.ctl.tls.ca_files, [ca]);
    let (config, _) = build(&[]).unwrap();
    assert!(config.ctl.tls.ca_files.is_empty() && config.rpc.system.is_none());
}

#[test]
fn addresses_of_one_connection_go_before_those_of_both() {
    let urls = ["--nats-url", "nats://a:1, nats://b:2"];
    let (config, _) = build(&urls).unwrap();
    assert_eq!(
        config.ctl.connection().servers,
        ["nats://a:1", "nats://b:2"]
    );
    assert_eq!(config.rpc.url(), "nats://a:1");
    let more = [&urls[..], &["--rpc-url", "nats://c:3"]].concat();
    let (config, _) = build(&more).unwrap();
    assert_eq!(config.rpc.connection().servers, ["nats://c:3"]);
    assert_eq!(config.ctl.connection().servers.len(), 2);
    let more = [&urls[..], &["--ctl-port", "5"]].concat();
    let (config, _) = build(&more).unwrap();
    assert_eq!(config.ctl.connection().servers, ["nats://127.0.0.1:5"]);
}

#[test]
fn who_signs_for_providers_is_an_account() {
    let account = SigningKey::generate(KeyKind::Account);
    let (seed, public) = (account.seed(), account.public_key());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("signing.nk");
    std::fs::write(&path, format!("{}\n", seed.expose())).unwrap();
    for given in [seed.expose(), path.to_str().unwrap()] {
        let (config, _) = build(&["--nats-account-seed", given]).unwrap();
        let signer = config.provider_signer.unwrap();
        assert_eq!(
            (signer.key.public_key(), &signer.account),
            (public.clone(), &None)
        );
    }
    let other = SigningKey::generate(KeyKind::Account).public_key();
    let flags = [
        "--nats-account-seed",
        seed.expose(),
        "--nats-account",
        &other,
    ];
    let (config, _) = build(&flags).unwrap();
    assert_eq!(config.provider_signer.unwrap().account, Some(other));
    let user = SigningKey::generate(KeyKind::User).seed();
    std::fs::write(&path, user.expose()).unwrap();
    let error = build(&["--nats-account-seed", path.to_str().unwrap()]).unwrap_err();
    assert!(matches!(error, SettingsError::AccountSeed(_)), "{error}");
    assert!(build(&["--nats-account-seed", "/nowhere/x"]).is_err());
}
