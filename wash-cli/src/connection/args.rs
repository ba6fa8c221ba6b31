//! The connection options every lattice command takes, under their 1.x names.

use std::path::PathBuf;

use clap::Args;
use lattice_nats::connection_options;

use super::settings::{Given, Side};

connection_options! {
    /// Where the control side of a lattice is.
    pub(crate) struct CtlNatsArgs {
        heading: "Connection",
        flag: "ctl",
        variable: "WASMCLOUD_CTL",
        purpose: "control",
        host: "Host of the NATS server for control [default: 127.0.0.1]" 'r',
        port: "Port of the NATS server for control [default: 4222]" 'p',
        creds: "ctl-credsfile" | "ctl-creds", "WASH_CTL_CREDS",
        tls_first: "WASH_CTL_TLS_FIRST",
    }
}

connection_options! {
    /// Where the side of a lattice is that carries calls.
    pub(crate) struct RpcNatsArgs {
        heading: "Connection",
        flag: "rpc",
        variable: "WASMCLOUD_RPC",
        purpose: "calls",
        host: "Host of the NATS server for calls [default: 127.0.0.1]" 'r',
        port: "Port of the NATS server for calls [default: 4222]" 'p',
        creds: "rpc-credsfile" | "rpc-creds", "WASH_RPC_CREDS",
        tls_first: "WASH_RPC_TLS_FIRST",
    }
}

/// How to reach the control side of a lattice.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    #[command(flatten)]
    pub(crate) nats: CtlNatsArgs,
    /// Certificates of the authority that signed the server's certificate
    #[arg(
        long = "ctl-tls-ca-file",
        alias = "ctl-ca-file",
        env = "WASH_CTL_TLS_CA_FILE"
    )]
    pub(crate) tls_ca_file: Option<PathBuf>,
    /// Accepted for 1.x scripts: hosts know the JetStream domain, and wash asks them
    #[arg(
        long = "js-domain",
        alias = "domain",
        hide = true,
        env = "WASMCLOUD_JS_DOMAIN"
    )]
    pub(crate) js_domain: Option<String>,
    /// Lattice to talk to [default: default]
    #[arg(short = 'x', long = "lattice", env = "WASMCLOUD_LATTICE")]
    pub(crate) lattice: Option<String>,
    /// How long to wait for answers, in milliseconds [default: 2000]
    #[arg(
        short = 't',
        long = "timeout-ms",
        alias = "timeout",
        env = "WASMCLOUD_CTL_TIMEOUT_MS",
        value_parser = clap::value_parser!(u64).range(1..)
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
            nats: self.nats.given(),
            tls_ca_file: self.tls_ca_file.clone(),
            cluster_seed: None,
            js_domain: self.js_domain.clone(),
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
    #[command(flatten)]
    pub(crate) nats: RpcNatsArgs,
    /// Certificates of the authority that signed the server's certificate
    #[arg(
        long = "rpc-tls-ca-file",
        alias = "rpc-ca-file",
        env = "WASH_RPC_TLS_CA_FILE"
    )]
    pub(crate) tls_ca_file: Option<PathBuf>,
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
        env = "WASMCLOUD_RPC_TIMEOUT_MS",
        value_parser = clap::value_parser!(u64).range(1..)
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
            nats: self.nats.given(),
            tls_ca_file: self.tls_ca_file.clone(),
            cluster_seed: self.cluster_seed.clone(),
            js_domain: None,
            lattice: self.lattice.clone(),
            timeout_ms: self.timeout_ms,
            context: self.context.clone(),
            context_dir: self.context_dir.clone(),
        }
    }
}
