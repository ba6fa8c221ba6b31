//! From flags to settings: checks, defaults that depend on each other, and what is not there yet.

mod nats;
mod seeds;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lattice_claims::{CurveKey, KeyError, KeyKind, PublicKey, SigningKey};
use lattice_core::host::{InvalidLabelKey, check_label_key};
use lattice_core::provider::OtelConfig;
use lattice_core::subject::TopicPrefix;
use lattice_core::{BackendName, InvalidId, LatticeName, StringMap};
use lattice_nats::connection::ConnectionError;
use lattice_runtime::RuntimeConfig;
use lattice_telemetry::{TraceSettings, TracesError};

use seeds::SeedError;

use super::args::{HostArgs, LaterArgs};
use super::trust::{self, TrustSettingsError};
use crate::config::{ClusterConfig, HostConfig, ProviderConfig, QueueConfig, SecretsConfig};
use crate::lines;

/// Why the flags do not make a host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A name breaks a rule.
    #[error(transparent)]
    Name(#[from] InvalidId),
    /// The host seed is none.
    #[error("`--host-seed` is not the seed of a host key")]
    HostSeed(#[source] KeyError),
    /// The cluster seed is none.
    #[error("`--cluster-seed` is not the seed of a cluster key")]
    ClusterSeed(#[source] KeyError),
    /// The file with the cluster seed cannot be read.
    #[error("could not read the cluster seed in `{path}`")]
    ReadClusterSeed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is given for a secrets backend is no key of one.
    #[error("`{text}` in `--secrets-backend-key` does not name a backend and its public curve key")]
    BackendKey {
        /// As given.
        text: String,
    },
    /// A cluster issuer is no public key of a cluster.
    #[error("`{text}` in `--cluster-issuers` is not the public key of a cluster")]
    ClusterIssuer {
        /// The key as given.
        text: String,
        /// What it is not.
        source: KeyError,
    },
    /// A host that lets nobody in without proof has none itself.
    #[error("`--allow-legacy-peers=false` needs `--cluster-seed`")]
    StrictWithoutCluster,
    /// A label is not of the form `key=value`.
    #[error("label `{text}` is not of the form `key=value`")]
    Label {
        /// The label as given.
        text: String,
    },
    /// The key of a label breaks a rule.
    #[error(transparent)]
    LabelKey(#[from] InvalidLabelKey),
    /// The rules for what runs make no sense.
    #[error(transparent)]
    Trust(#[from] TrustSettingsError),
    /// A connection cannot be made so.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The account seed is none.
    #[error("`--nats-account-seed` is not the seed of a NATS account")]
    AccountSeed(#[source] KeyError),
    /// The file with the account seed cannot be read.
    #[error("could not read `{}`, which `--nats-account-seed` names", path.display())]
    ReadAccountSeed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The account is no public key of one.
    #[error("`{text}` in `--nats-account` is not the public key of a NATS account")]
    Account {
        /// The key as given.
        text: String,
        /// What it is not.
        source: KeyError,
    },
    /// Traces cannot be exported as asked for.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// A flag asks for something that this version cannot do and must not leave out silently.
    #[error("{flag} is not supported by this version")]
    Unsupported {
        /// The flag.
        flag: String,
        /// Why starting without it would be wrong.
        why: &'static str,
    },
}

impl SettingsError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Name(error) => error.hint(),
            Self::HostSeed(_) => "a host seed has 58 characters and starts with `SN`",
            Self::ClusterSeed(_) => {
                "a cluster seed has 58 characters and starts with `SC`; it is a secret"
            }
            Self::ReadClusterSeed { .. } => "give a seed (`SC…`), or the path of a file with one",
            Self::BackendKey { .. } => {
                "write `--secrets-backend-key nats-kv=X…`; the key has 56 characters, and \
                 `wash secrets-backend serve` says it at its start"
            }
            Self::ClusterIssuer { .. } => {
                "the public key of a cluster has 56 characters and starts with `C`"
            }
            Self::StrictWithoutCluster => {
                "hosts of a strict lattice prove with the seed of one cluster key who they are: give all the same"
            }
            Self::LabelKey(error) => error.hint(),
            Self::Label { .. } => "write labels as `--label zone=a`",
            Self::Connection(error) => error.hint(),
            Self::AccountSeed(_) => {
                "the seed of an account has 58 characters and starts with `SA`; it is a secret"
            }
            Self::ReadAccountSeed { .. } => "give a seed (`SA…`), or the path of a file with one",
            Self::Account { .. } => {
                "the public key of an account has 56 characters and starts with `A`"
            }
            Self::Trust(error) => error.hint(),
            Self::Traces(error) => error.hint(),
            Self::Unsupported { why, .. } => why,
        }
    }
}

/// Turns flags into settings. The second part are warnings about flags without effect.
pub(crate) fn settings(
    args: &HostArgs,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<(HostConfig, Vec<String>), SettingsError> {
    let mut warnings = unsupported(&args.later)?;
    let mut config = HostConfig::new(LatticeName::new(&args.lattice)?);
    if let Some(seed) = filled(args.host_seed.as_ref()) {
        let key = SigningKey::from_seed(seed).and_then(|key| key.expect_kind(KeyKind::Host));
        config.key = Arc::new(key.map_err(SettingsError::HostSeed)?);
    }
    config.cluster = cluster(args)?;
    // What is not kept is not given away or taken in, either.
    config.share_code = !args.images.no_code_cache;
    config.allow_legacy_peers = args.allow_legacy_peers;
    if !config.allow_legacy_peers && config.cluster.key.is_none() {
        return Err(SettingsError::StrictWithoutCluster);
    }
    config.labels = labels(&args.labels, environment)?;
    config.heartbeat_interval = Duration::from_secs(args.heartbeat_interval_seconds);
    config.drain_timeout = Duration::from_millis(args.drain_timeout_ms);
    config.http_admin = args.http_admin;
    config.component_auctions = args.enable_component_auction;
    config.provider_auctions = args.enable_provider_auction;
    config.ctl_topic_prefix = TopicPrefix::new(&args.nats.ctl_topic_prefix)?;
    (config.ctl, config.rpc) = nats::connections(&args.nats, &mut warnings)?;
    config.provider_signer = nats::signer(&args.nats)?;
    config.bus_log.clone_from(&args.nats.nats_server_log);
    config.rpc_timeout = Duration::from_millis(args.nats.rpc_timeout_ms);
    config.js_domain = filled(args.nats.js_domain.as_ref()).cloned();
    config.store_replicas = args.nats.store_replicas.unwrap_or_default().into();
    config.allow_file_load = args.images.allow_file_load;
    config.trust = trust::trust(&args.trust)?;
    let (policy, without_effect) = trust::policy(&args.trust)?;
    config.policy = policy;
    warnings.extend(without_effect);
    config.socket_folder = socket_folder(args);
    config.secrets = secrets(args)?;
    running(args, &mut config);
    telemetry(args, &mut config);
    // What is wrong with them is said before anything starts.
    TraceSettings::read(&config.otel)?;
    warnings.extend(signals_without_effect(&config.otel));
    Ok((config, warnings))
}

fn cluster(args: &HostArgs) -> Result<ClusterConfig, SettingsError> {
    let seed = filled(args.cluster_seed.as_ref());
    let key = seed.map(|seed| {
        let key = seeds::key(seed, KeyKind::Cluster);
        key.map(Arc::new).map_err(|error| match error {
            SeedError::Read { path, source } => SettingsError::ReadClusterSeed { path, source },
            SeedError::Key(source) => SettingsError::ClusterSeed(source),
        })
    });
    let given = args.cluster_issuers.iter().map(|text| text.trim());
    let issuers = given.filter(|text| !text.is_empty()).map(|text| {
        let key = PublicKey::parse(text).and_then(|key| key.expect_kind(KeyKind::Cluster));
        key.map_err(|source| SettingsError::ClusterIssuer {
            text: text.to_owned(),
            source,
        })
    });
    Ok(ClusterConfig {
        key: key.transpose()?,
        issuers: issuers.collect::<Result<_, _>>()?,
    })
}

fn running(args: &HostArgs, config: &mut HostConfig) {
    let running = &args.running;
    config.call_timeout = Duration::from_millis(running.call_timeout_ms);
    config.max_execution_time = Duration::from_millis(running.max_execution_time_ms);
    config.queue = QueueConfig {
        max_queued: running.max_queued_calls,
        ..QueueConfig::default()
    };
    config.adaptive_limit = !running.no_adaptive_limit;
    config.providers = ProviderConfig {
        shutdown_delay: Duration::from_millis(running.provider_shutdown_delay_ms),
        max_bytes: running.max_provider_size_bytes,
        ..ProviderConfig::default()
    };
    config.runtime = RuntimeConfig {
        cache_dir: code_cache(args),
        max_memory_bytes: running.max_linear_memory_bytes,
        max_component_bytes: running.max_component_size_bytes,
        max_instances: running.max_components,
        max_core_instances_per_component: running.max_core_instances_per_component,
        ..RuntimeConfig::default()
    };
}

fn secrets(args: &HostArgs) -> Result<SecretsConfig, SettingsError> {
    let topic = filled(args.secrets.secrets_topic.as_ref());
    let given = args.secrets.secrets_backend_keys.iter();
    let given = given
        .map(|text| text.trim())
        .filter(|text| !text.is_empty());
    Ok(SecretsConfig {
        topic: topic
            .map(|topic| TopicPrefix::new(topic.as_str()))
            .transpose()?,
        refresh: Duration::from_secs(args.secrets.secrets_refresh_seconds),
        backend_keys: given
            .map(|text| {
                backend_key(text).ok_or_else(|| SettingsError::BackendKey {
                    text: text.to_owned(),
                })
            })
            .collect::<Result<_, _>>()?,
    })
}

fn backend_key(text: &str) -> Option<(BackendName, CurveKey)> {
    let (name, key) = text.split_once('=')?;
    let name = BackendName::new(name.trim()).ok()?;
    Some((name, CurveKey::from_public_key(key.trim()).ok()?))
}

fn socket_folder(args: &HostArgs) -> Option<PathBuf> {
    if args.images.no_socket {
        return None;
    }
    let chosen = args.images.socket_dir.clone();
    Some(chosen.unwrap_or_else(lines::default_folder))
}

fn code_cache(args: &HostArgs) -> Option<PathBuf> {
    if args.images.no_code_cache {
        return None;
    }
    let chosen = args.images.code_cache_dir.clone();
    chosen.or_else(|| Some(user_cache_dir()?.join("lattice").join("compiled")))
}

/// The cache folder of the user, by the rules of the XDG base directories.
fn user_cache_dir() -> Option<PathBuf> {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let set = std::env::var_os("XDG_CACHE_HOME").and_then(|path| absolute(path.into()));
    set.or_else(|| absolute(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
}

fn telemetry(args: &HostArgs, config: &mut HostConfig) {
    let telemetry = &args.telemetry;
    config.log_level = telemetry.log_level;
    config.structured_logging = telemetry.enable_structured_logging;
    let text = |value: &Option<String>| filled(value.as_ref()).cloned();
    config.otel = OtelConfig {
        enable_observability: telemetry.enable_observability,
        enable_traces: telemetry.enable_traces,
        enable_metrics: telemetry.enable_metrics,
        enable_logs: telemetry.enable_logs,
        observability_endpoint: text(&telemetry.override_observability_endpoint),
        traces_endpoint: text(&telemetry.override_traces_endpoint),
        metrics_endpoint: text(&telemetry.override_metrics_endpoint),
        logs_endpoint: text(&telemetry.override_logs_endpoint),
        protocol: telemetry.observability_protocol,
        additional_ca_paths: ca_texts(&args.nats.tls_ca_path),
        trace_level: telemetry.trace_level,
        traces_sampler: std::env::var("OTEL_TRACES_SAMPLER").ok(),
        traces_sampler_arg: std::env::var("OTEL_TRACES_SAMPLER_ARG").ok(),
        ..OtelConfig::default()
    };
}

/// Traces are the one signal that is exported.
fn signals_without_effect(otel: &OtelConfig) -> Vec<String> {
    let signals = [("metrics", otel.enable_metrics), ("logs", otel.enable_logs)];
    let asked_for = signals
        .into_iter()
        .filter(|(_, enabled)| enabled.unwrap_or(otel.enable_observability));
    asked_for
        .map(|(signal, enabled)| {
            let flag = match enabled {
                Some(_) => format!("`--enable-{signal}` has no effect"),
                None => format!("`--enable-observability` exports no {signal}"),
            };
            format!("{flag}: the host and our providers export traces only")
        })
        .collect()
}

fn ca_texts(paths: &[PathBuf]) -> Vec<String> {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect()
}

/// A variable that is set to nothing counts as not set.
fn filled(text: Option<&String>) -> Option<&String> {
    text.filter(|text| !text.is_empty())
}

const LABEL_VARIABLE: &str = "WASMCLOUD_LABEL_";

/// Labels from the environment, under those from flags.
fn labels(
    flags: &[String],
    environment: impl Iterator<Item = (String, String)>,
) -> Result<StringMap, SettingsError> {
    let mut labels: StringMap = environment
        .filter_map(|(name, value)| Some((name.strip_prefix(LABEL_VARIABLE)?.to_owned(), value)))
        .collect();
    for text in flags {
        match text.split_once('=') {
            Some((key, value)) => {
                labels.insert(key.to_owned(), value.to_owned());
            }
            None => return Err(SettingsError::Label { text: text.clone() }),
        }
    }
    labels.keys().try_for_each(|key| check_label_key(key))?;
    Ok(labels)
}

/// Refuses what must not be left out silently, and says what has no effect.
fn unsupported(later: &LaterArgs) -> Result<Vec<String>, SettingsError> {
    let set = |text: &Option<String>| filled(text.as_ref()).is_some();
    let mut warnings = Vec::new();
    let mut warn = |used: bool, text: &str| {
        if used {
            warnings.push(text.to_owned());
        }
    };
    warn(
        later.config_service_enabled,
        "`--config-service-enabled` has no effect",
    );
    let registries = later.allow_latest
        || later.allowed_insecure.iter().any(|text| !text.is_empty())
        || set(&later.oci_registry)
        || set(&later.oci_user)
        || set(&later.oci_password);
    warn(
        registries,
        "settings for registries have no effect: images are read from files only",
    );
    warn(set(&later.flame_graph), "`--flame-graph` has no effect");
    for feature in later.features.iter().filter(|feature| !feature.is_empty()) {
        warnings.push(check_feature(feature)?);
    }
    Ok(warnings)
}

const FEATURES: [&str; 6] = [
    "builtin-http-client",
    "builtin-http-server",
    "builtin-messaging-nats",
    "wasmcloud-messaging-v3",
    "workload-identity-interface",
    "rpc-interface",
];

fn check_feature(feature: &str) -> Result<String, SettingsError> {
    let name = feature.replace('_', "-");
    if FEATURES.contains(&name.as_str()) {
        return Ok(format!("`--feature {feature}` has no effect"));
    }
    let why = if name == "workload-identity-auth" {
        "the host would connect to NATS without the identity asked for"
    } else {
        "no feature has this name"
    };
    Err(SettingsError::Unsupported {
        flag: format!("`--feature {feature}`"),
        why,
    })
}

#[cfg(test)]
mod tests;
