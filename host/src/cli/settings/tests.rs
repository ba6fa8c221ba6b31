//! Tests of settings out of flags and environment.

use clap::Parser;

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
        ["--policy-topic", "policy"],
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
        "--secrets-topic",
        "s",
        "--allow-latest",
        "--oci-user",
        "u",
        "--feature",
        "rpc_interface",
    ];
    let (_, warnings) = build(&flags).unwrap();
    assert_eq!(warnings.len(), 3);
    assert!(warnings[0].contains("--secrets-topic") && warnings[2].contains("rpc_interface"));
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
fn credentials_files_are_taken_apart() {
    let text = "-----BEGIN NATS USER JWT-----\neyJ0\n------END NATS USER JWT------\n\n\
                ****\n-----BEGIN USER NKEY SEED-----\nSUAB\n------END USER NKEY SEED------\n";
    let user = parse_creds(text).unwrap();
    assert_eq!((user.jwt.expose(), user.seed.expose()), ("eyJ0", "SUAB"));
    for bad in [
        "",
        "-----BEGIN NATS USER JWT-----\n------END NATS USER JWT------\n",
    ] {
        assert!(parse_creds(bad).is_none());
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("user.creds");
    assert!(matches!(user_error(&path), SettingsError::ReadCreds { .. }));
    std::fs::write(&path, "nothing").unwrap();
    assert!(matches!(user_error(&path), SettingsError::NotCreds { .. }));
}

fn user_error(path: &Path) -> SettingsError {
    user(&None, &None, Some(path)).unwrap_err()
}
