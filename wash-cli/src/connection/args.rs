//! The connection options every lattice command takes, under their 1.x names.

use std::path::PathBuf;

use clap::Args;

use super::settings::{Given, Side};

/// How to reach the control side of a lattice.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// Host of the NATS server for control [default: 127.0.0.1]
    #[arg(
        short = 'r',
        long = "ctl-host",
        env = "WASMCLOUD_CTL_HOST",
        hide_env_values = true
    )]
    pub(crate) ctl_host: Option<String>,
    /// Port of the NATS server for control [default: 4222]
    #[arg(short = 'p', long = "ctl-port", env = "WASMCLOUD_CTL_PORT")]
    pub(crate) ctl_port: Option<u16>,
    /// User JWT for control
    #[arg(long = "ctl-jwt", env = "WASMCLOUD_CTL_JWT", hide_env_values = true)]
    pub(crate) ctl_jwt: Option<String>,
    /// Seed that belongs to the JWT, or a plain nkey seed
    #[arg(long = "ctl-seed", env = "WASMCLOUD_CTL_SEED", hide_env_values = true)]
    pub(crate) ctl_seed: Option<String>,
    /// Credentials file for control
    #[arg(long = "ctl-credsfile", alias = "ctl-creds", env = "WASH_CTL_CREDS")]
    pub(crate) ctl_credsfile: Option<PathBuf>,
    /// Certificates of the authority that signed the server's certificate
    #[arg(long = "ctl-tls-ca-file", env = "WASH_CTL_TLS_CA_FILE")]
    pub(crate) ctl_tls_ca_file: Option<PathBuf>,
    /// Start TLS before the server says anything
    #[arg(long = "ctl-tls-first", env = "WASH_CTL_TLS_FIRST", num_args = 0..=1,
        default_missing_value = "true")]
    pub(crate) ctl_tls_first: Option<bool>,
    /// Addresses of NATS servers for control instead of host and port, comma-separated or repeated
    #[arg(
        long = "ctl-url",
        env = "WASMCLOUD_CTL_URL",
        hide_env_values = true,
        value_delimiter = ',',
        value_name = "URL"
    )]
    pub(crate) ctl_url: Vec<String>,
    /// Token that everybody shares who may connect for control
    #[arg(
        long = "ctl-token",
        env = "WASMCLOUD_CTL_TOKEN",
        hide_env_values = true
    )]
    pub(crate) ctl_token: Option<String>,
    /// Certificate to show to the server, a PEM file
    #[arg(
        long = "ctl-tls-cert",
        env = "WASMCLOUD_CTL_TLS_CERT",
        value_name = "FILE",
        requires = "ctl_tls_key"
    )]
    pub(crate) ctl_tls_cert: Option<PathBuf>,
    /// Private key of that certificate
    #[arg(
        long = "ctl-tls-key",
        env = "WASMCLOUD_CTL_TLS_KEY",
        value_name = "FILE",
        requires = "ctl_tls_cert"
    )]
    pub(crate) ctl_tls_key: Option<PathBuf>,
    /// JetStream domain of the lattice
    #[arg(long = "js-domain", env = "WASMCLOUD_JS_DOMAIN")]
    pub(crate) js_domain: Option<String>,
    /// Lattice to talk to [default: default]
    #[arg(short = 'x', long = "lattice", env = "WASMCLOUD_LATTICE")]
    pub(crate) lattice: Option<String>,
    /// How long to wait for answers, in milliseconds [default: 2000]
    #[arg(
        short = 't',
        long = "timeout-ms",
        alias = "timeout",
        env = "WASMCLOUD_CTL_TIMEOUT_MS"
    )]
    pub(crate) timeout_ms: Option<u64>,
    /// Context to take settings from
    #[arg(long = "context")]
    pub(crate) context: Option<String>,
}

impl ConnectionArgs {
    pub(crate) fn given(&self) -> Given {
        Given {
            side: Side::Control,
            host: self.ctl_host.clone(),
            port: self.ctl_port,
            jwt: self.ctl_jwt.clone(),
            seed: self.ctl_seed.clone(),
            credsfile: self.ctl_credsfile.clone(),
            tls_ca_file: self.ctl_tls_ca_file.clone(),
            tls_first: self.ctl_tls_first,
            urls: self.ctl_url.clone(),
            token: self.ctl_token.clone(),
            tls_cert: self.ctl_tls_cert.clone(),
            tls_key: self.ctl_tls_key.clone(),
            cluster_seed: None,
            lattice: self.lattice.clone(),
            timeout_ms: self.timeout_ms,
            context: self.context.clone(),
            context_dir: None,
        }
    }
}

/// How to reach the side of a lattice that carries calls.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct RpcArgs {
    /// Host of the NATS server for calls [default: 127.0.0.1]
    #[arg(
        short = 'r',
        long = "rpc-host",
        env = "WASMCLOUD_RPC_HOST",
        hide_env_values = true
    )]
    pub(crate) rpc_host: Option<String>,
    /// Port of the NATS server for calls [default: 4222]
    #[arg(short = 'p', long = "rpc-port", env = "WASMCLOUD_RPC_PORT")]
    pub(crate) rpc_port: Option<u16>,
    /// User JWT for calls
    #[arg(long = "rpc-jwt", env = "WASMCLOUD_RPC_JWT", hide_env_values = true)]
    pub(crate) rpc_jwt: Option<String>,
    /// Seed that belongs to the JWT, or a plain nkey seed
    #[arg(long = "rpc-seed", env = "WASMCLOUD_RPC_SEED", hide_env_values = true)]
    pub(crate) rpc_seed: Option<String>,
    /// Credentials file for calls
    #[arg(long = "rpc-credsfile", alias = "rpc-creds", env = "WASH_RPC_CREDS")]
    pub(crate) rpc_credsfile: Option<PathBuf>,
    /// Certificates of the authority that signed the server's certificate
    #[arg(
        long = "rpc-tls-ca-file",
        alias = "rpc-ca-file",
        env = "WASH_RPC_TLS_CA_FILE"
    )]
    pub(crate) rpc_tls_ca_file: Option<PathBuf>,
    /// Start TLS before the server says anything
    #[arg(long = "rpc-tls-first", env = "WASH_RPC_TLS_FIRST", num_args = 0..=1,
        default_missing_value = "true")]
    pub(crate) rpc_tls_first: Option<bool>,
    /// Addresses of NATS servers for calls instead of host and port, comma-separated or repeated
    #[arg(
        long = "rpc-url",
        env = "WASMCLOUD_RPC_URL",
        hide_env_values = true,
        value_delimiter = ',',
        value_name = "URL"
    )]
    pub(crate) rpc_url: Vec<String>,
    /// Token that everybody shares who may connect for calls
    #[arg(
        long = "rpc-token",
        env = "WASMCLOUD_RPC_TOKEN",
        hide_env_values = true
    )]
    pub(crate) rpc_token: Option<String>,
    /// Certificate to show to the server, a PEM file
    #[arg(
        long = "rpc-tls-cert",
        env = "WASMCLOUD_RPC_TLS_CERT",
        value_name = "FILE",
        requires = "rpc_tls_key"
    )]
    pub(crate) rpc_tls_cert: Option<PathBuf>,
    /// Private key of that certificate
    #[arg(
        long = "rpc-tls-key",
        env = "WASMCLOUD_RPC_TLS_KEY",
        value_name = "FILE",
        requires = "rpc_tls_cert"
    )]
    pub(crate) rpc_tls_key: Option<PathBuf>,
    /// Seed of the cluster key (`SC…`), by which the call proves who makes it to hosts that let no
    /// others call
    #[arg(
        long = "cluster-seed",
        env = "WASMCLOUD_CLUSTER_SEED",
        hide_env_values = true
    )]
    pub(crate) cluster_seed: Option<String>,
    /// Lattice to talk to [default: default]
    #[arg(short = 'x', long = "lattice", env = "WASMCLOUD_LATTICE")]
    pub(crate) lattice: Option<String>,
    /// How long the call may take, in milliseconds [default: 2000]
    #[arg(
        short = 't',
        long = "rpc-timeout-ms",
        alias = "timeout-ms",
        env = "WASMCLOUD_RPC_TIMEOUT_MS"
    )]
    pub(crate) timeout_ms: Option<u64>,
    /// Context to take settings from
    #[arg(long = "context")]
    pub(crate) context: Option<String>,
    /// Folder of the contexts
    #[arg(long = "context-dir", env = "WASH_CONTEXTS")]
    pub(crate) context_dir: Option<PathBuf>,
}

impl RpcArgs {
    pub(crate) fn given(&self) -> Given {
        Given {
            side: Side::Rpc,
            host: self.rpc_host.clone(),
            port: self.rpc_port,
            jwt: self.rpc_jwt.clone(),
            seed: self.rpc_seed.clone(),
            credsfile: self.rpc_credsfile.clone(),
            tls_ca_file: self.rpc_tls_ca_file.clone(),
            tls_first: self.rpc_tls_first,
            urls: self.rpc_url.clone(),
            token: self.rpc_token.clone(),
            tls_cert: self.rpc_tls_cert.clone(),
            tls_key: self.rpc_tls_key.clone(),
            cluster_seed: self.cluster_seed.clone(),
            lattice: self.lattice.clone(),
            timeout_ms: self.timeout_ms,
            context: self.context.clone(),
            context_dir: self.context_dir.clone(),
        }
    }
}
