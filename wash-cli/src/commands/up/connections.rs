//! The connections of the hosts that `wash up` starts.

use std::path::PathBuf;

use lattice_core::provider::SecretText;
use lattice_nats::connection::options::Given;
use lattice_nats::connection_options;

connection_options! {
    /// The hosts' connection for control, and that of `wash up` itself.
    pub(super) struct CtlArgs {
        heading: "Hosts",
        flag: "ctl",
        variable: "WASMCLOUD_CTL",
        purpose: "control",
        host: "Host of the NATS server for control, if not the one started",
        port: "Port of the NATS server for control",
        creds: "ctl-credsfile" | "ctl-creds", "WASMCLOUD_CTL_CREDSFILE",
        tls_first: "WASMCLOUD_CTL_TLS_FIRST",
    }
}

connection_options! {
    /// The hosts' connection for calls.
    pub(super) struct RpcArgs {
        heading: "Hosts",
        flag: "rpc",
        variable: "WASMCLOUD_RPC",
        purpose: "calls",
        host: "Host of the NATS server for calls, if not the one for control",
        port: "Port of the NATS server for calls",
        creds: "rpc-credsfile" | "rpc-creds", "WASMCLOUD_RPC_CREDSFILE",
        tls_first: "WASMCLOUD_RPC_TLS_FIRST",
    }
}

/// The variables by which a host is told a connection, which begin with `prefix`; `address` where
/// none is given.
pub(super) fn variables(
    prefix: &str,
    given: &Given,
    address: (&str, u16),
) -> Vec<(String, Option<String>)> {
    let secret = |text: &Option<SecretText>| Some(text.as_ref()?.expose().to_owned());
    let path = |path: &PathBuf| path.display().to_string();
    let host = given.host.as_deref().unwrap_or(address.0);
    let port = given.port.unwrap_or(address.1);
    let urls = Some(given.urls.join(",")).filter(|list| !list.is_empty());
    let client = given.client.as_ref();
    let told = [
        ("HOST", Some(host.to_owned())),
        ("PORT", Some(port.to_string())),
        ("URL", urls),
        ("JWT", secret(&given.jwt)),
        ("SEED", secret(&given.seed)),
        ("CREDS", given.creds.as_ref().map(path)),
        ("TOKEN", secret(&given.token)),
        ("TLS", given.tls.map(|tls| tls.to_string())),
        ("TLS_FIRST", given.tls_first.map(|first| first.to_string())),
        ("TLS_CERT", client.map(|client| path(&client.cert))),
        ("TLS_KEY", client.map(|client| path(&client.key))),
    ];
    let named = |(name, value)| (format!("{prefix}_{name}"), value);
    told.map(named).into()
}
