//! The options of `wash up`, under their 1.x names and variables.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use lattice_core::provider::SecretText;
use lattice_nats::connection::options;

use super::connections::{CtlArgs, RpcArgs, Sides, Told};
use super::legacy::LegacyArgs;
use super::server::ServerProgram;
use crate::connection::{Given, Settings, Side};
use crate::context::ContextDir;
use crate::error::{CliError, Code, Result};

mod checks;

/// Start a lattice on this machine
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Components to start as well: files, whose names become their ids. What they import and
    /// export is linked to the first provider of each capability, unless it is linked already
    #[arg(value_name = "COMPONENT")]
    pub(super) components: Vec<String>,
    /// Return as soon as the hosts answer; stop them with `wash down`
    #[arg(short = 'd', long = "detached", alias = "detach")]
    pub(super) detached: bool,
    /// How many hosts to run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) hosts: Option<u16>,
    /// Label for every host; may be repeated
    #[arg(
        short = 'l',
        long = "label",
        alias = "labels",
        value_name = "KEY=VALUE"
    )]
    pub(super) labels: Vec<String>,
    /// Label with a value for each host in turn, such as `zone=a,b,c`; may be repeated
    #[arg(long = "label-each", value_name = "KEY=A,B,…")]
    pub(super) label_each: Vec<String>,
    /// Start further hosts beside those that run already
    #[arg(long = "multi-local")]
    pub(super) multi_local: bool,
    /// Make keys and certificates for the lattice, and let in only who has credentials, over TLS;
    /// each provider process reaches nothing but its links. A later start uses the same keys
    #[arg(long, env = "LATTICE_SECURE", value_parser = BoolishValueParser::new(),
        conflicts_with_all = ["nats_config_file", "nats_connect_only", "nats_remote_url"])]
    pub(super) secure: bool,
    #[command(flatten)]
    pub(super) nats: NatsArgs,
    #[command(flatten)]
    pub(super) host: HostSettings,
    #[command(flatten)]
    pub(super) legacy: LegacyArgs,
}

/// The NATS server to start or to use.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "NATS server")]
pub(crate) struct NatsArgs {
    #[command(flatten)]
    pub(super) server: ServerProgram,
    /// Address to listen on, or of a server that runs [default: 127.0.0.1]
    #[arg(long, env = "WASMCLOUD_NATS_HOST")]
    pub(super) nats_host: Option<String>,
    /// Port to listen on, or of a server that runs [default: 4222]
    #[arg(long, env = "WASMCLOUD_NATS_PORT")]
    pub(super) nats_port: Option<u16>,
    /// Also listen for websockets on this port of `--nats-host`, without TLS unless with `--secure`
    #[arg(long, env = "NATS_WEBSOCKET_PORT")]
    pub(super) nats_websocket_port: Option<u16>,
    /// JetStream domain of a server that is started
    #[arg(long, env = "NATS_JS_DOMAIN", default_value = "core")]
    pub(super) nats_js_domain: String,
    /// Never start a server
    #[arg(long, env = "NATS_CONNECT_ONLY", value_parser = BoolishValueParser::new(),
        num_args = 0..=1, default_value = "false", default_missing_value = "true")]
    pub(super) nats_connect_only: bool,
    /// Configuration file for the server instead of ours; needs host and port
    #[arg(
        long,
        env = "NATS_CONFIG",
        requires = "nats_host",
        requires = "nats_port"
    )]
    pub(super) nats_config_file: Option<PathBuf>,
    /// Join a NATS cluster as a leaf node
    #[arg(long, env = "NATS_REMOTE_URL", value_name = "URL")]
    pub(super) nats_remote_url: Option<String>,
    /// Credentials file for the remote
    #[arg(long, env = "NATS_CREDSFILE", requires = "nats_remote_url")]
    pub(super) nats_credsfile: Option<PathBuf>,
}

/// Settings that are handed on to the hosts by their variables.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Hosts")]
pub(crate) struct HostSettings {
    /// Program of the hosts instead of this one, such as a `lattice-host`
    #[arg(long, env = "WASMCLOUD_HOST_PATH", value_name = "PATH")]
    pub(super) host_path: Option<PathBuf>,
    /// File for the log of the host instead of one in our data folder
    #[arg(long, env = "WASMCLOUD_HOST_LOG_PATH", value_name = "FILE")]
    pub(super) host_log_path: Option<PathBuf>,
    /// Lattice [default: default]
    #[arg(short = 'x', long = "lattice", env = "WASMCLOUD_LATTICE")]
    lattice: Option<String>,
    /// Seed of the host's key; a fresh key is made when left out
    #[arg(long, env = "WASMCLOUD_HOST_SEED", hide_env_values = true)]
    pub(super) host_seed: Option<String>,
    /// Seed of the cluster key; hosts that have the same share compiled code
    #[arg(long, env = "WASMCLOUD_CLUSTER_SEED", hide_env_values = true)]
    pub(super) cluster_seed: Option<String>,
    /// Public keys of further clusters whose compiled code is used, separated by commas
    #[arg(long, env = "WASMCLOUD_CLUSTER_ISSUERS", value_delimiter = ',')]
    cluster_issuers: Vec<String>,
    #[command(flatten)]
    ctl: CtlArgs,
    /// Certificates of the authority that signed the server's certificate for control
    #[arg(long, alias = "ctl-ca-file", value_name = "FILE")]
    ctl_tls_ca_file: Option<PathBuf>,
    #[command(flatten)]
    rpc: RpcArgs,
    /// The same for calls
    #[arg(long, alias = "rpc-ca-file", value_name = "FILE")]
    rpc_tls_ca_file: Option<PathBuf>,
    /// Milliseconds that requests of the hosts may take
    #[arg(long, env = "WASMCLOUD_RPC_TIMEOUT_MS")]
    rpc_timeout_ms: Option<u64>,
    /// Milliseconds that a provider may take to stop
    #[arg(long = "provider-delay", env = "WASMCLOUD_PROV_SHUTDOWN_DELAY_MS")]
    provider_delay: Option<u32>,
    /// Milliseconds that one invocation may take
    #[arg(long, alias = "max-time-ms", env = "WASMCLOUD_MAX_EXECUTION_TIME_MS")]
    max_execution_time_ms: Option<u64>,
    /// Allow images with the tag `latest`
    #[arg(long, env = "WASMCLOUD_OCI_ALLOW_LATEST", value_parser = BoolishValueParser::new(),
        num_args = 0..=1, default_missing_value = "true")]
    allow_latest: Option<bool>,
    /// Registries that may be reached without TLS, separated by commas
    #[arg(long, env = "WASMCLOUD_OCI_ALLOWED_INSECURE", value_delimiter = ',')]
    allowed_insecure: Vec<String>,
    /// JetStream domain the hosts use
    #[arg(long = "wasmcloud-js-domain", env = "WASMCLOUD_JS_DOMAIN")]
    pub(super) wasmcloud_js_domain: Option<String>,
    /// Ask a config service for settings
    #[arg(long, env = "WASMCLOUD_CONFIG_SERVICE", value_parser = BoolishValueParser::new(),
        num_args = 0..=1, default_missing_value = "true")]
    config_service_enabled: Option<bool>,
    /// Allow images from files
    #[arg(long, env = "WASMCLOUD_ALLOW_FILE_LOAD", value_parser = BoolishValueParser::new(),
        num_args = 0..=1, default_value = "true", default_missing_value = "true")]
    allow_file_load: bool,
    /// Run the providers that are part of the hosts as processes of their own
    #[arg(long, env = "LATTICE_ISOLATED", value_parser = BoolishValueParser::new())]
    isolated: bool,
    /// Logs as JSON
    #[arg(long, env = "WASMCLOUD_STRUCTURED_LOGGING_ENABLED",
        value_parser = BoolishValueParser::new(), num_args = 0..=1,
        default_missing_value = "true")]
    enable_structured_logging: Option<bool>,
    /// How much the hosts log
    #[arg(
        long = "log-level",
        alias = "structured-log-level",
        env = "WASMCLOUD_LOG_LEVEL",
        value_parser = ["error", "warn", "info", "debug", "trace", "critical"],
        ignore_case = true
    )]
    log_level: Option<String>,
    /// Refuse components and providers that are not signed
    #[arg(long, env = "LATTICE_REQUIRE_SIGNED", value_parser = BoolishValueParser::new())]
    require_signed: bool,
    /// Run only what these keys of accounts or operators have signed, separated by commas
    #[arg(
        long = "trusted-issuer",
        env = "LATTICE_TRUSTED_ISSUERS",
        value_delimiter = ',',
        value_name = "KEY"
    )]
    trusted_issuers: Vec<String>,
    /// Tokens of accounts, or files or folders with them, separated by commas
    #[arg(
        long = "account-token",
        env = "LATTICE_ACCOUNT_TOKENS",
        value_delimiter = ',',
        value_name = "TOKEN|PATH"
    )]
    account_tokens: Vec<String>,
    /// Run what is not signed beside what trusted issuers have signed
    #[arg(long, env = "LATTICE_ALLOW_UNSIGNED", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = BoolishValueParser::new())]
    allow_unsigned: Option<bool>,
    /// Subject of the policy service
    #[arg(long, env = "WASMCLOUD_POLICY_TOPIC")]
    policy_topic: Option<String>,
    /// Subject at which the policy service tells of changed decisions
    #[arg(long, env = "WASMCLOUD_POLICY_CHANGES_TOPIC")]
    policy_changes_topic: Option<String>,
    /// Milliseconds that a decision of the policy service may take
    #[arg(long, env = "WASMCLOUD_POLICY_TIMEOUT")]
    policy_timeout_ms: Option<u64>,
    /// Subject prefix of secrets backends
    #[arg(long, env = "WASMCLOUD_SECRETS_TOPIC")]
    secrets_topic: Option<String>,
    /// Context to take settings from
    #[arg(long)]
    context: Option<String>,
}

impl Args {
    /// The control connection, as 1.x finds it: control flags, NATS flags, context.
    pub(super) fn given(&self) -> Given {
        let (host, server) = (&self.host, &self.nats);
        let ctl = host.ctl.given();
        Given {
            nats: options::Given {
                host: ctl.host.or_else(|| server.nats_host.clone()),
                port: ctl.port.or(server.nats_port),
                ..ctl
            },
            tls_ca_file: host.ctl_tls_ca_file.clone(),
            cluster_seed: host.cluster_seed.clone(),
            js_domain: host.wasmcloud_js_domain.clone(),
            lattice: host.lattice.clone(),
            context: host.context.clone(),
            ..Given::default()
        }
    }

    /// The hosts' connections, where `ctl` is what [`Args::given`] came to.
    pub(super) fn sides(&self, ctl: &Settings) -> Result<Sides> {
        let host = &self.host;
        let given = Given {
            side: Side::Rpc,
            nats: host.rpc.given(),
            tls_ca_file: host.rpc_tls_ca_file.clone(),
            lattice: host.lattice.clone(),
            timeout_ms: host.rpc_timeout_ms,
            context: host.context.clone(),
            ..Given::default()
        };
        // A context may have calls go to another server, unless flags say where everything is.
        let context = ContextDir::open(None)?.select(host.context.as_deref())?;
        let own_address = !self.address_given()
            && context.is_some_and(|context| {
                context.rpc_host.is_some()
                    && (context.rpc_host, context.rpc_port) != (context.ctl_host, context.ctl_port)
            });
        Sides::new(ctl, given, own_address)
    }

    /// Whether the address was given, so that another one will not do.
    pub(super) fn address_given(&self) -> bool {
        let (ctl, nats) = (&self.host.ctl, &self.nats);
        ctl.host.is_some()
            || ctl.port.is_some()
            || !ctl.url.is_empty()
            || nats.nats_host.is_some()
            || nats.nats_port.is_some()
    }

    /// The labels of each of `count` hosts.
    pub(super) fn labels(&self, count: usize) -> Result<Vec<Vec<(String, String)>>> {
        let common = self.labels.iter().map(|label| parse_label(label));
        let common = common.collect::<Result<Vec<_>>>()?;
        let mut labels = vec![common; count];
        for each in &self.label_each {
            let (key, values) = parse_label(each)?;
            for (labels, value) in labels.iter_mut().zip(values.split(',').cycle()) {
                labels.push((key.clone(), value.to_owned()));
            }
        }
        Ok(labels)
    }
}

/// Reads `key=value`; labels of the machine itself cannot be set.
fn parse_label(text: &str) -> Result<(String, String)> {
    let invalid = |why: &str, hint: &str| {
        Err(CliError::new(Code::Usage, format!("`{text}` {why}")).hint(hint))
    };
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => {
            if lattice_core::host::is_host_label(key) {
                return invalid("sets a label that only the host sets", "use another prefix");
            }
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => invalid("is not a label", "write `key=value`"),
    }
}

impl HostSettings {
    /// Whether hosts run what nobody has signed.
    pub(super) fn runs_unsigned(&self) -> bool {
        let named = self
            .trusted_issuers
            .iter()
            .any(|key| !key.trim().is_empty());
        self.allow_unsigned
            .unwrap_or(!self.require_signed && !named)
    }

    /// Paths of tokens hold wherever a host is started.
    fn absolute_tokens(&self) -> Vec<String> {
        let tokens = self.account_tokens.iter();
        tokens
            .map(|given| match std::path::absolute(given) {
                Ok(path) if path.exists() => path.display().to_string(),
                _ => given.clone(),
            })
            .collect()
    }

    /// The variables for a host that connects by `sides`; `shared` is the seed of its cluster, and
    /// `domain` that of JetStream.
    pub(super) fn variables(
        &self,
        sides: &Sides,
        shared: Option<&SecretText>,
        domain: Option<&str>,
    ) -> Vec<(String, String)> {
        let cluster = shared.map(|seed| seed.expose().to_owned());
        let of_lattice = [
            ("WASMCLOUD_CLUSTER_SEED", cluster),
            ("WASMCLOUD_CLUSTER_ISSUERS", list(&self.cluster_issuers)),
            ("WASMCLOUD_JS_DOMAIN", domain.map(str::to_owned)),
        ];
        // Said in so many words they go before what the hosts hear about both connections.
        let others = self.told_of_connections(sides).into_iter();
        let others = others
            .chain(of_lattice)
            .chain(self.told_of_work())
            .chain(self.told_of_trust());
        let others = others.filter_map(|(name, value)| Some((name.to_owned(), value?)));
        sides.variables().into_iter().chain(others).collect()
    }

    fn told_of_connections(&self, sides: &Sides) -> [Told; 6] {
        let (ctl, rpc) = (self.ctl.given(), self.rpc.given());
        let timeout = sides.rpc_timeout_ms().to_string();
        [
            ("WASMCLOUD_CTL_TLS", text(ctl.tls)),
            ("WASMCLOUD_CTL_TLS_FIRST", text(ctl.tls_first)),
            ("WASMCLOUD_RPC_TLS", text(rpc.tls)),
            ("WASMCLOUD_RPC_TLS_FIRST", text(rpc.tls_first)),
            ("LATTICE_NATS_TLS_CA_FILE", list(&sides.authorities())),
            ("WASMCLOUD_RPC_TIMEOUT_MS", Some(timeout)),
        ]
    }

    /// What hosts run, from where and for how long.
    fn told_of_work(&self) -> [Told; 9] {
        let delay = text(self.provider_delay);
        let longest = text(self.max_execution_time_ms);
        let insecure = list(&self.allowed_insecure);
        let asks = text(self.config_service_enabled);
        let structured = text(self.enable_structured_logging);
        [
            ("WASMCLOUD_PROV_SHUTDOWN_DELAY_MS", delay),
            ("WASMCLOUD_MAX_EXECUTION_TIME_MS", longest),
            ("WASMCLOUD_OCI_ALLOW_LATEST", text(self.allow_latest)),
            ("WASMCLOUD_OCI_ALLOWED_INSECURE", insecure),
            ("WASMCLOUD_CONFIG_SERVICE", asks),
            (
                "WASMCLOUD_ALLOW_FILE_LOAD",
                text(Some(self.allow_file_load)),
            ),
            ("LATTICE_ISOLATED", where_set(self.isolated)),
            ("WASMCLOUD_STRUCTURED_LOGGING_ENABLED", structured),
            ("WASMCLOUD_LOG_LEVEL", self.log_level.clone()),
        ]
    }

    /// Whom hosts trust, and whom they ask.
    fn told_of_trust(&self) -> [Told; 8] {
        let changes = self.policy_changes_topic.clone();
        [
            ("LATTICE_REQUIRE_SIGNED", where_set(self.require_signed)),
            ("LATTICE_TRUSTED_ISSUERS", list(&self.trusted_issuers)),
            ("LATTICE_ACCOUNT_TOKENS", list(&self.absolute_tokens())),
            ("LATTICE_ALLOW_UNSIGNED", text(self.allow_unsigned)),
            ("WASMCLOUD_POLICY_TOPIC", self.policy_topic.clone()),
            ("WASMCLOUD_POLICY_CHANGES_TOPIC", changes),
            ("WASMCLOUD_POLICY_TIMEOUT", text(self.policy_timeout_ms)),
            ("WASMCLOUD_SECRETS_TOPIC", self.secrets_topic.clone()),
        ]
    }
}

/// The value of a variable.
fn text(value: Option<impl ToString>) -> Option<String> {
    value.map(|value| value.to_string())
}

fn list(items: &[String]) -> Option<String> {
    Some(items.join(",")).filter(|list| !list.is_empty())
}

/// Off is what a host takes for granted.
fn where_set(flag: bool) -> Option<String> {
    flag.then(|| "true".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::parsed;

    fn args(line: &[&str]) -> Args {
        parsed(line).unwrap()
    }

    #[test]
    fn each_host_gets_its_own_value() {
        let args = args(&["--label", "tier=edge", "--label-each", "zone=a,b"]);
        let labels = args.labels(3).unwrap();
        let zones: Vec<&str> = labels.iter().map(|labels| labels[1].1.as_str()).collect();
        assert_eq!(zones, ["a", "b", "a"]);
        assert_eq!(labels[2][0], ("tier".to_owned(), "edge".to_owned()));
    }

    #[test]
    fn the_time_of_an_invocation_has_the_name_of_1x_as_well() {
        let args = args(&["--max-time-ms", "5"]);
        assert_eq!(args.host.max_execution_time_ms, Some(5));
    }

    #[test]
    fn labels_of_the_machine_are_refused() {
        let error = args(&["--label", "hostcore.os=plan9"])
            .labels(1)
            .unwrap_err();
        assert_eq!(error.code(), Code::Usage);
        assert!(args(&["--label", "novalue"]).labels(1).is_err());
    }

    #[test]
    fn hosts_use_the_control_server_for_calls_unless_told() {
        let args = args(&[
            "--ctl-seed",
            "SU",
            "--ctl-host",
            "10.0.0.1",
            "--ctl-port",
            "4333",
            "--rpc-tls=false",
        ]);
        let settings = args.given().settle().unwrap();
        let sides = args.sides(&settings).unwrap();
        let variables = args.host.variables(&sides, None, None);
        let value = |name: &str| {
            variables
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, v)| v.as_str())
        };
        assert_eq!(value("WASMCLOUD_RPC_HOST"), Some("10.0.0.1"));
        assert_eq!(value("WASMCLOUD_RPC_PORT"), Some("4333"));
        assert_eq!(value("WASMCLOUD_ALLOW_FILE_LOAD"), Some("true"));
        assert_eq!(value("WASMCLOUD_CTL_SEED"), Some("SU"));
        assert_eq!(value("WASMCLOUD_RPC_SEED"), Some("SU"));
        assert_eq!(value("WASMCLOUD_RPC_TLS"), Some("false"));
        assert_eq!(value("WASMCLOUD_LOG_LEVEL"), None);
    }
}
