//! What a NATS server is started with: its configuration and its variables.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lattice_nats::connection::ServerAddress;
use tokio::process::Command;
use tokio::time::timeout;

use super::super::args::NatsArgs;
use super::super::secure::Secure;
use crate::error::{CliError, Result};
use crate::lattice_dir::LatticeDir;

/// The longest line that the server reads: the tokens of providers with many links have room in it.
pub(in super::super) const LONGEST_LINE: usize = 64 * 1024;

/// How long one file of the log grows, in bytes, and how many there are at most.
const LOG_SIZE: u64 = 32 << 20;
const LOGS: u32 = 4;

/// The first version that bounds the number of its logs.
const BOUNDS_ITS_LOGS: (u32, u32) = (2, 10);

/// How long a server may take to say its version.
const VERSION: Duration = Duration::from_secs(3);

/// Writes the configuration of a server whose user has none.
pub(super) fn write_config(
    args: &NatsArgs,
    server: &ServerAddress,
    secure: Option<&Secure>,
    dir: &LatticeDir,
    bounds_logs: bool,
) -> Result<PathBuf> {
    let path = dir.nats_config();
    let mut text = config(args, server, &dir.jetstream(), secure);
    if bounds_logs {
        text.push_str(&log(&dir.nats_log()));
    }
    text.push_str(secure.map_or("", Secure::config));
    crate::files::write_private(&path, text.as_bytes())
        .map_err(|error| CliError::io(format!("could not write `{}`", path.display()), &error))?;
    Ok(path)
}

/// Gives a process those variables of this one that `passes` lets through: seeds and logins stand in
/// others.
pub(super) fn give_variables(command: &mut Command, passes: fn(&str) -> bool) {
    let variables = std::env::vars_os();
    let passed = variables.filter(|(name, _)| name.to_str().is_some_and(passes));
    command.env_clear().envs(passed);
}

/// What a server goes by whose configuration is written here.
pub(super) fn is_needed(name: &str) -> bool {
    [
        "PATH",
        "HOME",
        "TMPDIR",
        "TZ",
        "LANG",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ]
    .contains(&name)
        || ["LC_", "GO"].iter().any(|start| name.starts_with(start))
}

/// What is neither for hosts nor for `wash`.
pub(super) fn is_not_ours(name: &str) -> bool {
    let ours = ["WASMCLOUD_", "LATTICE_", "WASH_"];
    !ours.iter().any(|start| name.starts_with(start))
}

/// The server keeps its log itself, so that it can begin it anew: what clients are refused stands there, and they
/// may try as often as they like.
fn log(path: &Path) -> String {
    let path = serde_json::Value::from(path.display().to_string());
    format!("log_file: {path}\nlogfile_size_limit: {LOG_SIZE}\nlogfile_max_num: {LOGS}\n")
}

/// Whether a nats-server can bound its logs: one that says its version, which is not an old one.
pub(super) async fn bounds_logs(program: &Path) -> bool {
    let asked = Command::new(program)
        .arg("--version")
        .kill_on_drop(true)
        .output();
    match timeout(VERSION, asked).await {
        Ok(Ok(said)) => {
            parse_version(&String::from_utf8_lossy(&said.stdout)) >= Some(BOUNDS_ITS_LOGS)
        }
        _ => false,
    }
}

/// What stands in `nats-server: v2.10.3`.
fn parse_version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.trim().rsplit('v').next()?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn config(
    args: &NatsArgs,
    server: &ServerAddress,
    store: &Path,
    secure: Option<&Secure>,
) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut text = format!(
        "listen: {}\nmax_control_line: {LONGEST_LINE}\njetstream {{\n  store_dir: {}\n  domain: {}\n}}\n",
        quoted(&server.place()),
        quoted(&store.display().to_string()),
        quoted(&args.nats_js_domain),
    );
    if let Some(url) = &args.nats_remote_url {
        let credentials = args
            .nats_credsfile
            .as_ref()
            .map_or_else(String::new, |path| {
                format!(", credentials: {}", quoted(&path.display().to_string()))
            });
        let remote = format!("{{ url: {}{credentials} }}", quoted(url));
        text.push_str(&format!("leafnodes {{\n  remotes: [ {remote} ]\n}}\n"));
    }
    if let Some(port) = args.nats_websocket_port {
        let tls = secure.map_or_else(|| "no_tls: true".to_owned(), Secure::tls);
        let host = quoted(server.host());
        text.push_str(&format!(
            "websocket {{\n  host: {host}\n  port: {port}\n  {tls}\n}}\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::no_args;
    use super::*;

    #[test]
    fn servers_say_their_version() {
        assert_eq!(parse_version("nats-server: v2.9.10\n"), Some((2, 9)));
        assert!(parse_version("nats-server: v2.15.1") >= Some(BOUNDS_ITS_LOGS));
        assert_eq!(parse_version("something else"), None);
    }

    #[test]
    fn the_configuration_has_what_was_asked_for() {
        let args = NatsArgs {
            nats_websocket_port: Some(4223),
            nats_remote_url: Some("tls://hub.test".into()),
            nats_credsfile: Some("/k/leaf.creds".into()),
            ..no_args()
        };
        let expected = r#"listen: "127.0.0.1:4222"
max_control_line: 65536
jetstream {
  store_dir: "/data/js"
  domain: "core"
}
leafnodes {
  remotes: [ { url: "tls://hub.test", credentials: "/k/leaf.creds" } ]
}
websocket {
  host: "127.0.0.1"
  port: 4223
  no_tls: true
}
"#;
        let at = |server: &str| {
            let server = ServerAddress::of(server);
            config(&args, &server, Path::new("/data/js"), None)
        };
        assert_eq!(at("127.0.0.1"), expected);
        for host in ["::1", "[::1]"] {
            let text = at(host);
            assert!(text.contains(r#"listen: "[::1]:4222""#), "{text}");
            assert!(text.contains(r#"host: "::1""#), "{text}");
        }
    }

    #[test]
    fn the_server_learns_no_seed_by_its_variables() {
        for name in [
            "WASMCLOUD_CLUSTER_SEED",
            "LATTICE_NATS_ACCOUNT_SEED",
            "WASH_X",
        ] {
            assert!(!is_needed(name) && !is_not_ours(name), "{name}");
        }
        assert!(!is_needed("AWS_SECRET_ACCESS_KEY") && is_not_ours("MY_PORT"));
        assert!(is_needed("PATH") && is_needed("GOMAXPROCS"));
    }
}
