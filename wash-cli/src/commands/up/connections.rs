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

/// The variables by which hosts are told both connections; `address` is where NATS is unless they say
/// otherwise.
pub(super) fn variables(ctl: &Given, rpc: &Given, address: (&str, u16)) -> Vec<(String, String)> {
    let mut rpc = rpc.clone();
    if rpc.host.is_none() && rpc.port.is_none() && rpc.urls.is_empty() {
        rpc.urls.clone_from(&ctl.urls);
    }
    let both = [("WASMCLOUD_CTL", ctl), ("WASMCLOUD_RPC", &rpc)];
    let all = both.into_iter().flat_map(|(prefix, given)| {
        let told = server(given, address).into_iter().chain(access(given));
        told.filter_map(move |(name, value)| Some((format!("{prefix}_{name}"), value?)))
    });
    all.collect()
}

type Told = (&'static str, Option<String>);

/// Where it leads. A host looks at a list of addresses only where there is no single one.
fn server(given: &Given, address: (&str, u16)) -> [Told; 3] {
    let urls = Some(given.urls.join(",")).filter(|list| !list.is_empty());
    let single = urls.is_none();
    let host = given.host.as_deref().unwrap_or(address.0).to_owned();
    let port = given.port.unwrap_or(address.1).to_string();
    [
        ("HOST", single.then_some(host)),
        ("PORT", single.then_some(port)),
        ("URL", urls),
    ]
}

/// Who connects, and how. With a credentials file everything else that says who is empty, also where
/// the environment has it: that is what `wash up` goes by itself.
fn access(given: &Given) -> [Told; 8] {
    let path = |path: &PathBuf| path.display().to_string();
    let creds = given.creds.as_ref().map(path);
    let secret = |text: &Option<SecretText>| match &creds {
        Some(_) => Some(String::new()),
        None => Some(text.as_ref()?.expose().to_owned()),
    };
    let client = given.client.as_ref();
    [
        ("JWT", secret(&given.jwt)),
        ("SEED", secret(&given.seed)),
        ("TOKEN", secret(&given.token)),
        ("TLS", given.tls.map(|tls| tls.to_string())),
        ("TLS_FIRST", given.tls_first.map(|first| first.to_string())),
        ("TLS_CERT", client.map(|client| path(&client.cert))),
        ("TLS_KEY", client.map(|client| path(&client.key))),
        ("CREDS", creds),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: (&str, u16) = ("127.0.0.1", 4222);

    fn value(told: &[(String, String)], name: &str) -> Option<String> {
        let mut found = told.iter().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| value.clone())
    }

    #[test]
    fn a_list_of_addresses_holds_for_both_connections_and_in_place_of_a_single_one() {
        let ctl = Given {
            urls: vec!["nats://a:1".to_owned(), "nats://b:2".to_owned()],
            ..Given::default()
        };
        let told = variables(&ctl, &Given::default(), HERE);
        for side in ["CTL", "RPC"] {
            let of = |name| value(&told, &format!("WASMCLOUD_{side}_{name}"));
            assert_eq!(of("URL").as_deref(), Some("nats://a:1,nats://b:2"));
            assert_eq!((of("HOST"), of("PORT")), (None, None), "{side}");
        }
        let own = Given {
            port: Some(4333),
            ..Given::default()
        };
        let told = variables(&ctl, &own, HERE);
        assert_eq!(value(&told, "WASMCLOUD_RPC_PORT").as_deref(), Some("4333"));
        assert_eq!(value(&told, "WASMCLOUD_RPC_URL"), None);
    }

    #[test]
    fn hosts_connect_as_wash_does() {
        let ctl = Given {
            creds: Some("u.creds".into()),
            jwt: Some(SecretText::new("eyJ")),
            seed: Some(SecretText::new("SU")),
            ..Given::default()
        };
        let told = variables(&ctl, &Given::default(), HERE);
        assert_eq!(value(&told, "WASMCLOUD_CTL_JWT").as_deref(), Some(""));
        assert_eq!(value(&told, "WASMCLOUD_CTL_SEED").as_deref(), Some(""));
        let creds = value(&told, "WASMCLOUD_CTL_CREDS");
        assert_eq!(creds.as_deref(), Some("u.creds"));
        assert_eq!(value(&told, "WASMCLOUD_RPC_JWT"), None);
    }
}
