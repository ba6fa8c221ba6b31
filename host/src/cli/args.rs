//! The flags of the host and the environment variables behind them. There are no arguments without a
//! flag, so that the value of a switch may be a word of its own, as in 1.x.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use lattice_core::provider::{LogLevel, OtelProtocol};
use lattice_core::subject::control::DEFAULT_CONTROL_PREFIX;
use lattice_nats::connection_options;

use super::trust::TrustArgs;

/// Flags of `lattice-host` and `wash host`. Names and variables are those of the 1.x host.
#[derive(Debug, Clone, Args)]
pub struct HostArgs {
    /// Lattice to join
    #[arg(
        long,
        short = 'x',
        env = "WASMCLOUD_LATTICE",
        default_value = "default"
    )]
    pub lattice: String,
    /// Seed of the host's key (`SN…`); a fresh key is made when left out
    #[arg(long, env = "WASMCLOUD_HOST_SEED", hide_env_values = true)]
    pub host_seed: Option<String>,
    /// Seed of the cluster key (`SC…`), or a file that holds it: hosts that have the same use the code
    /// that the others have compiled, signed with it. Without one, code is not shared
    #[arg(
        long,
        env = "WASMCLOUD_CLUSTER_SEED",
        hide_env_values = true,
        value_name = "SEED|FILE"
    )]
    pub cluster_seed: Option<String>,
    /// Public keys (`C…`), comma-separated, of further clusters whose compiled code is used; whoever
    /// holds one can run anything in this host
    #[arg(
        long,
        env = "WASMCLOUD_CLUSTER_ISSUERS",
        value_delimiter = ',',
        value_name = "KEY"
    )]
    pub cluster_issuers: Vec<String>,
    /// Let in calls that do not prove who makes them, as those of 1.x hosts and providers; when off,
    /// the lattice is strict, and the host needs a cluster seed
    #[arg(long, env = "WASMCLOUD_ALLOW_LEGACY_PEERS", default_value = "true",
        num_args = 0..=1, default_missing_value = "true",
        action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub allow_legacy_peers: bool,
    /// Label of this host as `key=value`; may be repeated. `WASMCLOUD_LABEL_{key}` sets one, too
    #[arg(long = "label", short = 'l', value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// Seconds between two heartbeats
    #[arg(long, env = "WASMCLOUD_HEARTBEAT_INTERVAL", default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub heartbeat_interval_seconds: u64,
    /// Milliseconds that calls under way may take to end when the host stops
    #[arg(long, env = "WASMCLOUD_DRAIN_TIMEOUT_MS", default_value_t = 10_000)]
    pub drain_timeout_ms: u64,
    /// Address of the health endpoints `/livez` and `/readyz`, and of `/metrics`
    #[arg(long, env = "WASMCLOUD_HTTP_ADMIN", value_name = "ADDRESS")]
    pub http_admin: Option<SocketAddr>,
    /// Answer auctions of components
    #[arg(long, env = "WASMCLOUD_COMPONENT_AUCTION_ENABLED", default_value = "true",
        num_args = 0..=1, default_missing_value = "true",
        action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub enable_component_auction: bool,
    /// Answer auctions of providers
    #[arg(long, env = "WASMCLOUD_PROVIDER_AUCTION_ENABLED", default_value = "true",
        num_args = 0..=1, default_missing_value = "true",
        action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub enable_provider_auction: bool,
    /// Print all flags as a Markdown table and end
    #[arg(long, hide = true)]
    pub help_markdown: bool,
    #[command(flatten)]
    #[doc(hidden)]
    pub nats: NatsArgs,
    #[command(flatten)]
    #[doc(hidden)]
    pub running: RunningArgs,
    #[command(flatten)]
    #[doc(hidden)]
    pub images: ImageArgs,
    #[command(flatten)]
    #[doc(hidden)]
    pub trust: TrustArgs,
    #[command(flatten)]
    #[doc(hidden)]
    pub telemetry: TelemetryArgs,
    #[command(flatten)]
    #[doc(hidden)]
    pub secrets: SecretsArgs,
    #[command(flatten)]
    #[doc(hidden)]
    pub later: LaterArgs,
}

/// Connections.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "NATS")]
pub struct NatsArgs {
    #[command(flatten)]
    #[doc(hidden)]
    pub both: CommonArgs,
    /// Seed (`SA…`) of the NATS account or of one of its signing keys, or a file that holds it: each
    /// provider process then gets a user of its own, which reaches nothing but its links
    #[arg(
        long,
        env = "LATTICE_NATS_ACCOUNT_SEED",
        hide_env_values = true,
        value_name = "SEED|FILE"
    )]
    pub nats_account_seed: Option<String>,
    /// Public key (`A…`) of the account, where the seed is that of a signing key
    #[arg(long, env = "LATTICE_NATS_ACCOUNT", value_name = "KEY")]
    pub nats_account: Option<String>,
    /// Seconds that the user of a provider process lasts; it is replaced before
    #[arg(long, env = "LATTICE_PROVIDER_CREDENTIALS_SECONDS", default_value_t = 3600,
        value_parser = clap::value_parser!(u64).range(3..=2_592_000))]
    pub provider_credentials_seconds: u64,
    /// `max_control_line` of the NATS server, in bytes. The token of a provider process is part of the
    /// first line that it says, and grows with its links; those that do not fit in fail
    #[arg(long, env = "LATTICE_NATS_MAX_CONTROL_LINE", value_name = "BYTES",
        default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1024..))]
    pub nats_max_control_line: u32,
    /// Log of the NATS server, where this host can read it: what the server refuses becomes events
    #[arg(long, env = "LATTICE_NATS_SERVER_LOG", value_name = "FILE")]
    pub nats_server_log: Option<PathBuf>,
    #[command(flatten)]
    #[doc(hidden)]
    pub ctl: CtlArgs,
    /// What control subjects start with
    #[arg(
        long,
        env = "WASMCLOUD_CTL_TOPIC_PREFIX",
        default_value = DEFAULT_CONTROL_PREFIX
    )]
    pub ctl_topic_prefix: String,
    #[command(flatten)]
    #[doc(hidden)]
    pub rpc: RpcArgs,
    /// Milliseconds that a request to a provider may take
    #[arg(long, env = "WASMCLOUD_RPC_TIMEOUT_MS", default_value_t = 2_000)]
    pub rpc_timeout_ms: u64,
    /// JetStream domain of the store
    #[arg(long, alias = "wasmcloud-js-domain", env = "WASMCLOUD_JS_DOMAIN")]
    pub js_domain: Option<String>,
    /// Servers that keep a copy of each bucket that this host creates (default: one)
    #[arg(long, env = "WASMCLOUD_STORE_REPLICAS", value_parser = clap::value_parser!(u8).range(1..=5))]
    pub store_replicas: Option<u8>,
    /// Files with certificate authorities, comma-separated, that are trusted beside the system's, with
    /// NATS and with collectors of traces
    #[arg(
        long,
        env = "WASMCLOUD_TLS_CA_PATH",
        value_delimiter = ',',
        value_name = "FILE"
    )]
    pub tls_ca_path: Vec<PathBuf>,
    /// Files with the only certificate authorities that are trusted with NATS, comma-separated
    #[arg(
        long,
        env = "LATTICE_NATS_TLS_CA_FILE",
        value_delimiter = ',',
        value_name = "FILE"
    )]
    pub nats_tls_ca_file: Vec<PathBuf>,
}

connection_options! {
    /// Both connections.
    pub struct CommonArgs {
        heading: "NATS",
        flag: "nats",
        variable: "WASMCLOUD_NATS",
        purpose: "both connections",
        host: "NATS server for both connections [default: 127.0.0.1]",
        port: "Its port [default: 4222]",
        creds: "nats-creds" | "nats-credsfile", "WASMCLOUD_NATS_CREDS",
        tls_first: "WASMCLOUD_NATS_TLS_FIRST",
    }
}

connection_options! {
    /// The connection for control, events and the store.
    pub struct CtlArgs {
        heading: "NATS",
        flag: "ctl",
        variable: "WASMCLOUD_CTL",
        purpose: "control, events and the store",
        host: "NATS server for control",
        port: "Its port",
        creds: "ctl-creds" | "ctl-credsfile", "WASMCLOUD_CTL_CREDS",
        tls_first: "WASMCLOUD_CTL_TLS_FIRST",
    }
}

connection_options! {
    /// The connection for calls and providers.
    pub struct RpcArgs {
        heading: "NATS",
        flag: "rpc",
        variable: "WASMCLOUD_RPC",
        purpose: "calls and providers",
        host: "NATS server for calls",
        port: "Its port",
        creds: "rpc-creds" | "rpc-credsfile", "WASMCLOUD_RPC_CREDS",
        tls_first: "WASMCLOUD_RPC_TLS_FIRST",
    }
}

/// What components and providers may do and use.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
pub struct RunningArgs {
    /// Milliseconds after which a call ends whose caller tells no deadline
    #[arg(long, env = "WASMCLOUD_CALL_TIMEOUT_MS", default_value_t = 5_000,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub call_timeout_ms: u64,
    /// Milliseconds that a call may take at most, whatever its caller tells
    #[arg(long, env = "WASMCLOUD_MAX_EXECUTION_TIME_MS", default_value_t = 600_000,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub max_execution_time_ms: u64,
    /// Bytes of memory that one instance of a component may have
    #[arg(long, env = "WASMCLOUD_MAX_LINEAR_MEMORY", default_value_t = 256 << 20)]
    pub max_linear_memory_bytes: u64,
    /// Bytes that the file of a component may have
    #[arg(long, env = "WASMCLOUD_MAX_COMPONENT_SIZE", default_value_t = 50 << 20)]
    pub max_component_size_bytes: u64,
    /// Bytes that the program of a provider may have
    #[arg(long, env = "WASMCLOUD_MAX_PROVIDER_SIZE", default_value_t = 512 << 20)]
    pub max_provider_size_bytes: u64,
    /// Instances of components that may exist at the same time
    #[arg(long, env = "WASMCLOUD_MAX_COMPONENTS", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub max_components: u32,
    /// Core instances that one component may consist of
    #[arg(long, env = "WASMCLOUD_MAX_CORE_INSTANCES_PER_COMPONENT", default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub max_core_instances_per_component: u32,
    /// Calls that may wait for an instance of one component
    #[arg(long, env = "WASMCLOUD_MAX_QUEUED_CALLS", default_value_t = 1_024)]
    pub max_queued_calls: usize,
    /// Let components do as much at once as their own maxima allow, however busy the host is
    #[arg(long, env = "LATTICE_NO_ADAPTIVE_LIMIT", value_parser = BoolishValueParser::new())]
    pub no_adaptive_limit: bool,
    /// Milliseconds that a provider may take to answer a shutdown request
    #[arg(
        long,
        alias = "provider-shutdown-delay",
        env = "WASMCLOUD_PROV_SHUTDOWN_DELAY_MS",
        default_value_t = 300
    )]
    pub provider_shutdown_delay_ms: u64,
}

/// Where components and providers come from.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Images")]
pub struct ImageArgs {
    /// Allow components and providers from files of this machine
    #[arg(long, env = "WASMCLOUD_ALLOW_FILE_LOAD", default_value = "false",
        num_args = 0..=1, default_missing_value = "true",
        action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub allow_file_load: bool,
    /// Run the providers that are part of the host as processes of their own
    #[arg(long, env = "LATTICE_ISOLATED", value_parser = BoolishValueParser::new())]
    pub isolated: bool,
    /// Folder for the socket between this host and its provider processes (default: in the user's
    /// runtime folder, else among the temporary files)
    #[arg(long, env = "LATTICE_SOCKET_DIR", value_name = "FOLDER")]
    pub socket_dir: Option<PathBuf>,
    /// Reach provider processes over NATS only
    #[arg(long, env = "LATTICE_NO_SOCKET", conflicts_with = "socket_dir",
        value_parser = BoolishValueParser::new())]
    pub no_socket: bool,
    /// Folder for compiled code (default: in the user's cache folder)
    #[arg(long, env = "WASMCLOUD_CODE_CACHE_DIR", value_name = "FOLDER")]
    pub code_cache_dir: Option<PathBuf>,
    /// Compile every component anew at each start, and share no compiled code
    #[arg(long, env = "WASMCLOUD_NO_CODE_CACHE", conflicts_with = "code_cache_dir",
        value_parser = BoolishValueParser::new())]
    pub no_code_cache: bool,
}

/// Where secrets come from.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Secrets")]
pub struct SecretsArgs {
    /// What the subjects of secrets backends start with, such as `wasmcloud.secrets`; without it
    /// nothing starts that names a secret
    #[arg(long, env = "WASMCLOUD_SECRETS_TOPIC")]
    pub secrets_topic: Option<String>,
    /// Seconds after which backends are asked again for the secrets in use
    #[arg(long, env = "LATTICE_SECRETS_REFRESH_SECONDS", default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub secrets_refresh_seconds: u64,
    /// Public curve key of a secrets backend, as `NAME=X…`, comma-separated or repeated: nobody else
    /// can read what it is asked or answer in its name. Not for backends of 1.x, which prove nothing
    #[arg(
        long = "secrets-backend-key",
        env = "LATTICE_SECRETS_BACKEND_KEYS",
        value_delimiter = ',',
        value_name = "NAME=KEY"
    )]
    pub secrets_backend_keys: Vec<String>,
}

/// Logs, traces and metrics.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logs and telemetry")]
pub struct TelemetryArgs {
    /// How much is logged; `RUST_LOG` goes first
    #[arg(long, alias = "structured-log-level", env = "WASMCLOUD_LOG_LEVEL",
        default_value = "info", value_parser = parse_level)]
    pub log_level: LogLevel,
    /// How much is traced
    #[arg(long, env = "WASMCLOUD_TRACE_LEVEL", default_value = "info", value_parser = parse_level)]
    pub trace_level: LogLevel,
    /// Write logs as JSON lines
    #[arg(long, env = "WASMCLOUD_STRUCTURED_LOGGING_ENABLED",
        value_parser = BoolishValueParser::new())]
    pub enable_structured_logging: bool,
    /// Export traces; metrics and logs are not exported by this version
    #[arg(long, env = "WASMCLOUD_OBSERVABILITY_ENABLED", value_parser = BoolishValueParser::new())]
    pub enable_observability: bool,
    /// Export traces; `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` choose which
    #[arg(long, env = "WASMCLOUD_TRACES_ENABLED", num_args = 0..=1,
        default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub enable_traces: Option<bool>,
    /// Export metrics; no effect
    #[arg(long, env = "WASMCLOUD_METRICS_ENABLED", num_args = 0..=1,
        default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub enable_metrics: Option<bool>,
    /// Export logs; no effect
    #[arg(long, env = "WASMCLOUD_LOGS_ENABLED", num_args = 0..=1,
        default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub enable_logs: Option<bool>,
    /// Where all of it goes
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub override_observability_endpoint: Option<String>,
    /// Where traces go
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", value_name = "URL")]
    pub override_traces_endpoint: Option<String>,
    /// Where metrics go
    #[arg(long, env = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", value_name = "URL")]
    pub override_metrics_endpoint: Option<String>,
    /// Where logs go
    #[arg(long, env = "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", value_name = "URL")]
    pub override_logs_endpoint: Option<String>,
    /// How it is sent: `http` or `grpc`
    #[arg(long, env = "WASMCLOUD_OBSERVABILITY_PROTOCOL", default_value = "http",
        value_parser = parse_protocol)]
    pub observability_protocol: OtelProtocol,
}

/// Flags of the 1.x host for parts that this version does not have yet.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Not in this version")]
pub struct LaterArgs {
    /// Ask the config service for registry credentials; no effect
    #[arg(long, env = "WASMCLOUD_CONFIG_SERVICE", hide_short_help = true,
        value_parser = BoolishValueParser::new())]
    pub config_service_enabled: bool,
    /// Allow `latest` images; no effect, registries are not read
    #[arg(long, env = "WASMCLOUD_OCI_ALLOW_LATEST", hide_short_help = true,
        value_parser = BoolishValueParser::new())]
    pub allow_latest: bool,
    /// Registries without TLS; no effect, registries are not read
    #[arg(
        long,
        env = "WASMCLOUD_OCI_ALLOWED_INSECURE",
        value_delimiter = ',',
        hide_short_help = true
    )]
    pub allowed_insecure: Vec<String>,
    /// Registry of the credentials; no effect, registries are not read
    #[arg(long, env = "WASMCLOUD_OCI_REGISTRY", hide_short_help = true)]
    pub oci_registry: Option<String>,
    /// User for the registry; no effect
    #[arg(long, env = "WASMCLOUD_OCI_REGISTRY_USER", hide_short_help = true)]
    pub oci_user: Option<String>,
    /// Password for the registry; no effect
    #[arg(
        long,
        env = "WASMCLOUD_OCI_REGISTRY_PASSWORD",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub oci_password: Option<String>,
    /// Folder for a flame graph; no effect
    #[arg(long, env = "WASMCLOUD_FLAME_GRAPH", hide_short_help = true)]
    pub flame_graph: Option<String>,
    /// Experimental feature of the 1.x host; may be repeated
    #[arg(
        long = "feature",
        env = "WASMCLOUD_EXPERIMENTAL_FEATURES",
        value_delimiter = ',',
        hide_short_help = true
    )]
    pub features: Vec<String>,
}

fn parse_level(text: &str) -> Result<LogLevel, String> {
    match text.to_ascii_lowercase().as_str() {
        "error" => Ok(LogLevel::Error),
        "warn" => Ok(LogLevel::Warn),
        "info" => Ok(LogLevel::Info),
        "debug" => Ok(LogLevel::Debug),
        "trace" => Ok(LogLevel::Trace),
        "critical" => Ok(LogLevel::Critical),
        _ => Err("expected error, warn, info, debug, trace or critical".to_owned()),
    }
}

fn parse_protocol(text: &str) -> Result<OtelProtocol, String> {
    match text.to_ascii_lowercase().as_str() {
        "http" => Ok(OtelProtocol::Http),
        "grpc" => Ok(OtelProtocol::Grpc),
        _ => Err("expected http or grpc".to_owned()),
    }
}
